"""Trust: pinned keys are demanded, and what is older than what the site had is refused."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.bundle.check import trust
from paddock.bundle.check.trust import Signed
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import SIGNATURE, Image, Manifest, StackName
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError
from samples import bundles

KEY, OTHER = signature.generate(), signature.generate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundles.write(tmp_path / "bundle")
    return tmp_path / "bundle"


def signed(folder: Path, key: signature.SecretKey = KEY, sequence: int | None = None) -> OpenBundle:
    with OpenBundle.open([folder]) as bundle:
        trust.sign_bundle(bundle, key, sequence=sequence)
        return bundle


def test_a_signature_by_a_pinned_key_is_taken(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert trust.pinned(state) == ()
    trust.pin(OTHER.public, state)
    trust.pin(KEY.public, state)
    assert set(trust.pinned(state)) == {KEY.public, OTHER.public}
    now = int(time.time())
    found = trust.check(signed(folder), trust.pinned(state))
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
        trust.check(OpenBundle.open([folder]), [KEY.public])


def test_unknown_key(folder: Path) -> None:
    with pytest.raises(
        BundleError, match=f"by key {OTHER.public.id}, expected one by {KEY.public.id}"
    ) as caught:
        trust.check(signed(folder, OTHER), [KEY.public])
    assert "paddock bundle trust" in caught.value.hint


def test_a_key_with_a_stolen_number(folder: Path) -> None:
    thief = replace(OTHER, number=KEY.number)
    with pytest.raises(BundleError, match="does not hold"):
        trust.check(signed(folder, thief), [KEY.public])


def test_a_signature_of_another_bundle(folder: Path, tmp_path: Path) -> None:
    bundles.write(tmp_path / "older", files={})
    signed(tmp_path / "older")
    shutil.copy(tmp_path / "older" / SIGNATURE, folder / SIGNATURE)
    with pytest.raises(BundleError, match="found the comment 'bundle:"):
        trust.check(OpenBundle.open([folder]), [KEY.public])


@pytest.mark.parametrize(
    "comment", ["", "bundle:{id}", "bundle:{id} sequence:-1", "bundle:{id} sequence:1 x", "x"]
)
def test_a_comment_in_another_form(folder: Path, comment: str) -> None:
    bundle = OpenBundle.open([folder])
    made = signature.sign(bundle.manifest.to_bytes(), KEY, comment.format(id=bundle.manifest.id))
    (folder / SIGNATURE).write_bytes(made.to_bytes())
    with pytest.raises(BundleError, match="found the comment"):
        trust.check(bundle, [KEY.public])


def test_a_damaged_pinned_key_is_not_passed_over(tmp_path: Path) -> None:
    trust.pin(KEY.public, tmp_path).write_text("damaged\n")
    with pytest.raises(BundleError, match="is not a minisign public key"):
        trust.pinned(tmp_path)


# --- sequence numbers ---------------------------------------------------------------------------------------

CPU = StackName(name="cpu", target="cpu", backend="vllm", model="paddleocr-vl-1.6", variant="online")


def manifest(folder: Path, stack: StackName | None, *references: str) -> Manifest:
    one = bundles.write(folder)
    images = tuple(
        Image(reference=name, config=one.images[0].config, manifest=one.images[0].manifest, layers=())
        for name in references
    )
    return replace(one, stack=stack, images=images or one.images)


def at(sequence: int, *, checked: bool = True) -> Signed:
    return Signed(key_id=KEY.public.id, sequence=sequence, checked=checked)


def test_an_older_bundle_of_the_same_stack_is_refused(tmp_path: Path) -> None:
    cpu = manifest(tmp_path / "b", CPU)
    trust.check_sequence(cpu, at(10), tmp_path)
    trust.record_sequence(cpu, at(10), tmp_path)
    trust.check_sequence(cpu, at(10), tmp_path)  # the same again
    trust.check_sequence(cpu, at(11), tmp_path)
    with pytest.raises(BundleError, match="has sequence 9, expected at least 10: a newer one for cpu"):
        trust.check_sequence(cpu, at(9), tmp_path)
    trust.record_sequence(cpu, at(3), tmp_path)  # never falls
    with pytest.raises(BundleError, match="expected at least 10"):
        trust.check_sequence(cpu, at(9), tmp_path)


def test_what_is_not_signed_has_no_sequence(tmp_path: Path) -> None:
    cpu = manifest(tmp_path / "b", CPU)
    trust.record_sequence(cpu, at(10, checked=False), tmp_path / "state")
    trust.record_sequence(cpu, None, tmp_path / "state")
    assert not (tmp_path / "state").exists()
    trust.check_sequence(cpu, None, tmp_path / "state")
    trust.check_sequence(cpu, at(1, checked=False), tmp_path / "state")


def test_two_stacks_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    cpu, offline = (manifest(tmp_path / "b", stack) for stack in (CPU, replace(CPU, name="cpu-offline")))
    trust.record_sequence(cpu, at(10), tmp_path)
    trust.check_sequence(offline, at(5), tmp_path)


@pytest.mark.parametrize("reference", ["paddock/cpu-api:0.0.9", "paddock/cpu-api"])
def test_old_images_do_not_come_in_without_their_stack(tmp_path: Path, reference: str) -> None:
    trust.record_sequence(manifest(tmp_path / "b", CPU), at(10), tmp_path)
    with pytest.raises(BundleError, match="a newer one for paddock/cpu-api was imported"):
        trust.check_sequence(manifest(tmp_path / "b", None, "other/one:1", reference), at(9), tmp_path)
    trust.check_sequence(manifest(tmp_path / "b", None, "host:5000/paddock/cpu-api"), at(9), tmp_path)


def test_a_damaged_record_is_not_passed_over(tmp_path: Path) -> None:
    cpu = manifest(tmp_path / "b", CPU)
    trust.record_sequence(cpu, at(10), tmp_path)
    for text in ("", "[]", '{"stack:cpu": "x"}'):
        (tmp_path / "sequences.json").write_text(text)
        with pytest.raises(BundleError, match="is damaged"):
            trust.check_sequence(cpu, at(11), tmp_path)
