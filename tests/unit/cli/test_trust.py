"""`paddock trust`, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.bundle.check import keys
from paddock.bundle.format import signature
from paddock.bundle.format.revoked import REVOKED, revoked_to_bytes
from paddock.door import run

Paddock = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paddock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Paddock:
    """The command line on a host with no keys, in a folder with the public key one.pub and two.pub."""
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(keys, "HOST", tmp_path / "etc")
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        signature.keygen(tmp_path / name)

    def command(*arguments: str) -> tuple[int, str, str]:
        status = run(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


def id_of(name: str) -> str:
    return signature.read_public(Path(f"{name}.pub")).id


def states(paddock: Paddock) -> dict[str, str]:
    status, out, err = paddock("trust", "list", "--json")
    assert status == 0, err
    return {row["key"]: row["state"] for row in json.loads(out)}


def test_from_the_first_key_to_the_last(paddock: Paddock) -> None:
    assert "no key is pinned here" in paddock("trust", "list")[2]
    assert paddock("trust", "add", "one.pub", "--until", "2099-01-31")[0] == 0
    status, out, _ = paddock("trust", "list")
    assert (status, out.splitlines()[1].split()[:3]) == (0, [id_of("one"), "counts", "2099-01-31"])
    assert paddock("trust", "add", "two.pub", "--until", "2026-01-31")[0] == 0
    assert states(paddock) == {id_of("one"): "counts", id_of("two"): "counted until 2026-01-31"}
    assert paddock("trust", "remove", id_of("two"))[0] == 0
    status, _, err = paddock("trust", "remove", id_of("one"))
    assert (status, "no key is pinned here any more" in err) == (0, True)
    assert states(paddock) == {}


def test_keys_of_the_host_come_first(paddock: Paddock) -> None:
    assert paddock("trust", "add", "one.pub")[0] == 0
    status, out, _ = paddock("trust", "add", "two.pub", "--host")
    assert (status, Path(out.strip()).parent) == (0, keys.HOST / "keys")
    assert states(paddock) == {id_of("one"): "does not count, the host has keys", id_of("two"): "counts"}
    assert "does not count while keys are pinned for the whole host" in paddock("trust", "add", "one.pub")[2]
    assert paddock("trust", "remove", id_of("two"), "--host")[0] == 0
    assert states(paddock) == {id_of("one"): "counts"}


def test_revoked_keys_are_shown(paddock: Paddock) -> None:
    paddock("trust", "add", "one.pub")
    gone = [signature.read_public(Path(f"{name}.pub")) for name in ("one", "two")]
    Path("state", REVOKED).write_bytes(revoked_to_bytes(gone))
    assert states(paddock) == {id_of("one"): "was revoked", id_of("two"): "was revoked"}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("add", "one"), 7, "is not a minisign public key"),
        (("add", "missing.pub"), 2, "does not exist"),
        (("add", "one.pub", "--until", "soon"), 2, "--until"),
        (("remove", "0123456789ABCDEF"), 7, "found no key 0123456789ABCDEF"),
        (("remove",), 2, "ID"),
    ],
)
def test_refused(paddock: Paddock, arguments: tuple[str, ...], status: int, words: str) -> None:
    found, _, err = paddock("trust", *arguments)
    assert (found, words in err) == (status, True), err


def test_its_name_before_still_works(paddock: Paddock) -> None:
    assert paddock("bundle", "trust", "one.pub")[0] == 0
    assert states(paddock) == {id_of("one"): "counts"}
