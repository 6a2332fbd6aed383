"""Keys: the host's before the user's, until their last date, and never again once revoked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from paddock.bundle.check.keys import HOST, KeyStore
from paddock.bundle.format import signature
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.revoked import REVOKED, revoked_to_bytes
from paddock.errors import BundleError
from samples import bundles

KEY, OTHER, THIRD = (signature.generate().public for _ in range(3))


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(own=tmp_path / "state", host=tmp_path / "etc")


def file_of(key: signature.PublicKey, folder: Path) -> Path:
    path = folder / f"{key.id}.given.pub"
    path.write_bytes(key.to_bytes())
    return path


def demanded(keys: KeyStore, *given: Path) -> set[signature.PublicKey]:
    return {trusted.key for trusted in keys.demanded(given)}


def test_where_they_are(keys: KeyStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable leads away from the host's keys."""
    for name in ("PADDOCK_STATE", "PADDOCK_HOST", "PADDOCK_ROOT", "XDG_STATE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert KeyStore(own=tmp_path).host == HOST == Path("/etc/paddock")
    assert keys.pin(KEY) == keys.own / "keys" / f"{KEY.id}.pub"
    assert keys.pin(KEY, for_host=True) == keys.host / "keys" / f"{KEY.id}.pub"


def test_the_users_own_count_where_the_host_has_none(keys: KeyStore, tmp_path: Path) -> None:
    assert keys.demanded() == ()
    assert demanded(keys, file_of(THIRD, tmp_path)) == {THIRD}
    keys.pin(KEY)
    keys.pin(OTHER)
    assert demanded(keys) == {KEY, OTHER}
    assert demanded(keys, file_of(THIRD, tmp_path)) == {THIRD}


@pytest.mark.fault("keys of the host got around")
def test_nobody_gets_around_the_hosts(keys: KeyStore, tmp_path: Path) -> None:
    keys.pin(KEY, for_host=True)
    keys.pin(OTHER, for_host=True)
    keys.pin(THIRD)
    assert demanded(keys) == {KEY, OTHER}
    assert demanded(keys, file_of(OTHER, tmp_path)) == {OTHER}
    with pytest.raises(BundleError, match=f"found key {THIRD.id}, expected one of those in"):
        keys.demanded([file_of(THIRD, tmp_path)])
    another_state = KeyStore(own=tmp_path / "elsewhere", host=keys.host)
    assert demanded(another_state) == {KEY, OTHER}


@pytest.mark.fault("keys of the host got around")
def test_keys_of_the_host_that_no_longer_count_are_demanded_all_the_same(keys: KeyStore) -> None:
    """Otherwise the host would be open once its last key is over."""
    keys.pin(KEY, for_host=True, until="2026-01-01")
    keys.pin(OTHER)
    (trusted,) = keys.demanded()
    assert (trusted.key, trusted.trouble) == (KEY, "counted until 2026-01-01")


@pytest.mark.parametrize("place", ["host", "own"])
@pytest.mark.fault("keys of the host got around")
def test_keys_that_cannot_be_read_are_not_passed_over(keys: KeyStore, place: str) -> None:
    folder = keys.host if place == "host" else keys.own
    folder.mkdir()
    (folder / "keys").write_bytes(b"")  # root may read every folder, but this is none
    with pytest.raises(BundleError, match=r"keys: cannot be read .*, expected the keys that count here"):
        keys.demanded()


@pytest.mark.parametrize("content", [b"", b"damaged\n", b"untrusted comment: x\nRWQ\n"])
def test_a_damaged_key_is_not_passed_over(keys: KeyStore, content: bytes) -> None:
    keys.pin(KEY).write_bytes(content)
    with pytest.raises(BundleError, match="is not a minisign public key"):
        keys.demanded()


def test_other_files_are(keys: KeyStore) -> None:
    keys.pin(KEY)
    for name in ("README", "._it.pub", "old.pub.bak"):
        (keys.own / "keys" / name).write_bytes(b"")
    assert demanded(keys) == {KEY}


def test_a_last_date(keys: KeyStore) -> None:
    path = keys.pin(KEY, until="2099-12-31")
    assert path.read_text().splitlines()[0].endswith(f"minisign public key {KEY.id} until 2099-12-31")
    assert signature.read_public(path) == KEY  # minisign reads it, too
    assert [(trusted.until, trusted.trouble) for trusted in keys.demanded()] == [("2099-12-31", "")]
    for text in ("soon", "20991231", "2099-12-31 "):
        path.write_bytes(KEY.to_bytes(f" until {text}"))
        with pytest.raises(BundleError, match="expected a date such as 2027-12-31"):
            keys.demanded()


def test_a_key_is_taken_back(keys: KeyStore) -> None:
    path = keys.pin(KEY)
    with pytest.raises(BundleError, match=f"found no key {KEY.id}"):
        keys.remove(KEY.id, for_host=True)
    assert keys.remove(KEY.id.lower()) == path
    assert keys.demanded() == ()
    with pytest.raises(BundleError, match="found no key"):
        keys.remove(KEY.id)


# --- revoked ------------------------------------------------------------------------------------------------


def bundle_that_revokes(folder: Path, *revoked: signature.PublicKey) -> Path:
    files = {**bundles.FILES, REVOKED: revoked_to_bytes(revoked)}
    bundles.write(folder, files=files)
    return folder


def test_a_bundle_revokes_keys(keys: KeyStore, tmp_path: Path) -> None:
    keys.pin(KEY)
    keys.pin(OTHER)
    with OpenBundle.open([bundle_that_revokes(tmp_path / "b", KEY, THIRD)]) as bundle:
        assert set(keys.apply_revoked(bundle)) == {KEY, THIRD}
        assert keys.apply_revoked(bundle) == ()
    assert {trusted.key: trusted.trouble for trusted in keys.demanded()} == {KEY: "was revoked", OTHER: ""}
    with OpenBundle.open([bundle_that_revokes(tmp_path / "c", OTHER)]) as bundle:
        keys.apply_revoked(bundle)
    assert keys.revoked() == {KEY, OTHER, THIRD}
    assert (keys.own / REVOKED).read_text().splitlines() == sorted(key.line for key in (KEY, OTHER, THIRD))


@pytest.mark.fault("key revoked or over")
def test_a_revoked_key_is_never_trusted_again(keys: KeyStore, tmp_path: Path) -> None:
    with OpenBundle.open([bundle_that_revokes(tmp_path / "b", KEY)]) as bundle:
        keys.apply_revoked(bundle)
    renumbered = signature.PublicKey(number=b"12345678", key=KEY.key)
    for key in (KEY, renumbered):
        for for_host in (False, True):
            with pytest.raises(BundleError, match=f"key {key.id}: was revoked, and is never trusted again"):
                keys.pin(key, for_host=for_host)
    (given,) = keys.demanded([file_of(KEY, tmp_path)])
    assert given.trouble == "was revoked"


def test_keys_of_the_host_are_revoked_for_everybody(keys: KeyStore, tmp_path: Path) -> None:
    keys.pin(KEY, for_host=True)
    with OpenBundle.open([bundle_that_revokes(tmp_path / "b", KEY)]) as bundle:
        keys.apply_revoked(bundle)
    assert (keys.host / REVOKED).exists()
    assert not (keys.own / REVOKED).exists()
    (trusted,) = KeyStore(own=tmp_path / "another", host=keys.host).demanded()
    assert trusted.revoked


def test_a_list_that_is_not_what_was_signed_is_refused(keys: KeyStore, tmp_path: Path) -> None:
    folder = bundle_that_revokes(tmp_path / "b", KEY)
    (folder / REVOKED).write_bytes(revoked_to_bytes([OTHER]))
    with (
        OpenBundle.open([folder]) as bundle,
        pytest.raises(BundleError, match=r"is not what bundle\.json says"),
    ):
        keys.apply_revoked(bundle)
    shutil.rmtree(folder)
    bundles.write(folder, files={REVOKED: b"not a key\n"})
    with (
        OpenBundle.open([folder]) as bundle,
        pytest.raises(BundleError, match=f"{REVOKED}: line 1: is not a"),
    ):
        keys.apply_revoked(bundle)
    assert keys.revoked() == frozenset()


@pytest.mark.parametrize("content", [b"x\n", b"\n", b"RWQ\n"])
def test_a_damaged_list_is_not_passed_over(keys: KeyStore, content: bytes) -> None:
    keys.own.mkdir()
    (keys.own / REVOKED).write_bytes(content)
    with pytest.raises(BundleError, match=f"{REVOKED}: line 1: is not a minisign public key"):
        keys.demanded()


def test_a_bundle_without_a_list_revokes_nothing(keys: KeyStore, tmp_path: Path) -> None:
    bundles.write(tmp_path / "b")
    with OpenBundle.open([tmp_path / "b"]) as bundle:
        assert keys.apply_revoked(bundle) == ()
    assert not os.path.lexists(keys.own)
