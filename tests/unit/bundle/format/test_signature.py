"""Signatures: the same bytes as minisign makes, and any changed byte refused."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from paddock.bundle.format import signature
from paddock.bundle.format.signature import keygen, parse_signature, read_public, read_secret
from paddock.errors import BundleError

# Made by minisign 0.11: `minisign -G -W`, `minisign -S -t 'bundle:x sequence:1'` over b"hi\n".
PUBLIC = """untrusted comment: minisign public key FF9BD868E57A5A60
RWRgWnrlaNib/8nff4rmr9ho8HnmXsXnxcABAs5iZU9kXPrhgUvSRmI4
"""
SECRET = """untrusted comment: minisign encrypted secret key
RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAYFp65WjYm//ldneGwBe0NboHhvZF2WWprRDxUlWDo69\
vklDQlP+lAMnff4rmr9ho8HnmXsXnxcABAs5iZU9kXPrhgUvSRmI4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
"""
SIGNED = b"""untrusted comment: signature from minisign secret key
RURgWnrlaNib/8vEknRlLEr2ODonMLTSIb++hXBA/Jy5fWdls1kNarrRZScCroT0JBhQzrKr1Yjkih11Xr42R4f2Qcv/GC7ETwk=
trusted comment: bundle:x sequence:1
Bgv8aERoC/EnBhxKeRf3FVmL4p4BPNXDOfMqyYb7p0VOd4lW52Rk9nyviRBLTeb7quTNe/shzcitdWx/nXvOAQ==
"""
DATA = b"hi\n"


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """The folder with minisign's key pair."""
    (tmp_path / "it.pub").write_text(PUBLIC)
    (tmp_path / "it.key").write_text(SECRET)
    return tmp_path


def test_we_read_and_write_what_minisign_does(pair: Path) -> None:
    public, secret = read_public(pair / "it.pub"), read_secret(pair / "it.key")
    assert (public.id, secret.public) == ("FF9BD868E57A5A60", public)
    assert (public.to_bytes().decode(), secret.to_bytes().decode()) == (PUBLIC, SECRET)
    assert signature.sign(DATA, secret, "bundle:x sequence:1").to_bytes() == SIGNED
    assert parse_signature(SIGNED, where="it").holds(DATA, public)


@pytest.mark.needs("minisign")
def test_minisign_takes_our_keys_and_signatures(tmp_path: Path) -> None:
    public = keygen(tmp_path / "ours")
    (tmp_path / "data").write_bytes(DATA)
    made = signature.sign(DATA, read_secret(tmp_path / "ours"), "bundle:y sequence:7")
    (tmp_path / "data.minisig").write_bytes(made.to_bytes())
    asked = subprocess.run(
        ["minisign", "-V", "-p", tmp_path / "ours.pub", "-m", tmp_path / "data"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "Trusted comment: bundle:y sequence:7" in asked.stdout
    subprocess.run(
        ["minisign", "-S", "-s", tmp_path / "ours", "-m", tmp_path / "data", "-t", "bundle:z sequence:8"],
        check=True,
    )
    found = parse_signature((tmp_path / "data.minisig").read_bytes(), where="it")
    assert found.holds(DATA, public)
    assert found.comment == "bundle:z sequence:8"


def test_keys_are_new_private_and_never_replaced(tmp_path: Path) -> None:
    one, other = keygen(tmp_path / "one"), keygen(tmp_path / "other")
    assert one.key != other.key
    assert one.number != other.number
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert read_public(tmp_path / "one.pub") == one == read_secret(tmp_path / "one").public
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("one", "other"):
        with pytest.raises(BundleError, match="exists, expected a new file"):
            keygen(tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(BundleError, match="cannot be written"):
        keygen(tmp_path / "missing" / "key")


@pytest.mark.parametrize("bit", [1, 32, 128])
def test_no_changed_byte_goes_unnoticed(bit: int, pair: Path) -> None:
    public = read_public(pair / "it.pub")
    for at in range(len(SIGNED)):
        changed = bytearray(SIGNED)
        changed[at] ^= bit
        try:
            held = parse_signature(bytes(changed), where="it").holds(DATA, public)
        except BundleError:
            held = False
        assert not held, f"byte {at}"


@pytest.mark.parametrize("cut", [*range(len(SIGNED)), -1])
def test_no_cut_signature_is_taken(cut: int) -> None:
    with pytest.raises(BundleError, match="is not a signature"):
        parse_signature(SIGNED[:cut], where="it")


def test_other_data_and_other_keys_do_not_hold(pair: Path) -> None:
    found, public = parse_signature(SIGNED, where="it"), read_public(pair / "it.pub")
    assert not found.holds(DATA + b"\n", public)
    assert not found.holds(DATA, signature.PublicKey(number=public.number, key=keygen(pair / "new").key))
    assert not found.holds(DATA, signature.PublicKey(number=b"12345678", key=public.key))


# minisign's default: the key behind a password (`minisign -G`), so other bytes after "Ed"
LOCKED = SECRET.replace("RWQAAEIy", "RWRTY0Iy")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a minisign secret key"),
        (PUBLIC, "is not a minisign secret key"),
        (SECRET.replace("RWQA", "RWRB"), "protected by a password"),
        (LOCKED, "protected by a password"),
        (SECRET.replace("RWQAAEIy", "RWQAAEIx"), "no Ed25519 key"),
        (SECRET.replace("yd9/", "yd8/").replace("nff4rm", "nff5rm"), "do not belong together"),
        (SECRET.replace("YFp6", "!!!!"), "is not a minisign secret key"),
    ],
)
def test_bad_secret_keys(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(BundleError, match=words):
        read_secret(tmp_path / "key")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x\n" * 10_000, "more than 4096 bytes"),
        (SECRET, "is not a minisign public key"),
        (PUBLIC.replace("RWR", "RUR"), "no Ed25519 key"),
        (PUBLIC.splitlines()[1], "is not a minisign public key"),
    ],
)
def test_bad_public_keys(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(text)
    with pytest.raises(BundleError, match=words):
        read_public(tmp_path / "key.pub")
