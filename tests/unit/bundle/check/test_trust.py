"""Trust: a bundle is what a key signed that counts here."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paddock.bundle.check import trust
from paddock.bundle.check.keys import KeyStore, TrustedKey
from paddock.bundle.check.trust import Signed
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import SIGNATURE
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError
from samples import bundles

KEY, OTHER = signature.generate(), signature.generate()


def held(key: signature.SecretKey) -> TrustedKey:
    return TrustedKey(path=Path("key.pub"), key=key.public)


HELD = held(KEY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundles.write(tmp_path / "bundle")
    return tmp_path / "bundle"


def signed(folder: Path, key: signature.SecretKey = KEY, sequence: int | None = None) -> OpenBundle:
    with OpenBundle.open([folder]) as bundle:
        trust.sign_bundle(bundle, key, sequence=sequence)
        return bundle


def test_a_signature_by_a_pinned_key_is_taken(folder: Path, tmp_path: Path) -> None:
    keys = KeyStore(own=tmp_path / "state")
    keys.pin(OTHER.public)
    keys.pin(KEY.public)
    now = int(time.time())
    found = trust.check(signed(folder), keys.demanded())
    assert found is not None
    assert (found.key_id, found.checked) == (KEY.public.id, True)
    assert now <= found.sequence <= now + 60


def test_without_keys_nothing_is_demanded_and_nothing_claimed(folder: Path) -> None:
    assert trust.check(OpenBundle.open([folder]), ()) is None
    assert trust.check(signed(folder, sequence=5), ()) == Signed(
        key_id=KEY.public.id, sequence=5, checked=False
    )


def test_no_signature_where_one_is_demanded(folder: Path) -> None:
    with pytest.raises(BundleError, match=f"has no signature, expected one by {KEY.public.id}"):
        trust.check(OpenBundle.open([folder]), [HELD])


def test_unknown_key(folder: Path) -> None:
    with pytest.raises(
        BundleError, match=f"by key {OTHER.public.id}, expected one by {KEY.public.id}"
    ) as caught:
        trust.check(signed(folder, OTHER), [HELD])
    assert "paddock trust add" in caught.value.hint


def test_a_key_with_a_stolen_number(folder: Path) -> None:
    thief = replace(OTHER, number=KEY.number)
    with pytest.raises(BundleError, match="does not hold"):
        trust.check(signed(folder, thief), [HELD])


def test_a_signature_of_another_bundle(folder: Path, tmp_path: Path) -> None:
    bundles.write(tmp_path / "older", files={})
    signed(tmp_path / "older")
    shutil.copy(tmp_path / "older" / SIGNATURE, folder / SIGNATURE)
    with pytest.raises(BundleError, match="found the comment 'bundle:"):
        trust.check(OpenBundle.open([folder]), [HELD])


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ({"revoked": True}, "which was revoked"),
        ({"until": "2026-01-31"}, "which counted until 2026-01-31"),
    ],
)
@pytest.mark.fault("key revoked or over")
def test_a_key_that_no_longer_counts_is_named(folder: Path, why: dict[str, Any], words: str) -> None:
    gone = replace(HELD, **why)
    with pytest.raises(BundleError, match=f"by key {KEY.public.id}, {words}"):
        trust.check(signed(folder), [gone, held(OTHER)])
    with pytest.raises(BundleError, match=f"expected one by {OTHER.public.id}$"):
        trust.check(OpenBundle.open([folder_without_signature(folder)]), [gone, held(OTHER)])


def folder_without_signature(folder: Path) -> Path:
    (folder / SIGNATURE).unlink()
    return folder


@pytest.mark.parametrize(
    "comment", ["", "bundle:{id}", "bundle:{id} sequence:-1", "bundle:{id} sequence:1 x", "x"]
)
def test_a_comment_in_another_form(folder: Path, comment: str) -> None:
    bundle = OpenBundle.open([folder])
    made = signature.sign(bundle.manifest.to_bytes(), KEY, comment.format(id=bundle.manifest.id))
    (folder / SIGNATURE).write_bytes(made.to_bytes())
    with pytest.raises(BundleError, match="found the comment"):
        trust.check(bundle, [HELD])
