"""The file of keys as the door reads it, and as `paddock keys` writes it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import keyfile
from paddock.apikeys import accepted

HASH = "0" * 64


def parsed(text: str) -> tuple[list[keyfile.Key], list[str]]:
    said: list[str] = []
    return keyfile.parsed(text, say=said.append), said


def test_what_paddock_writes_is_what_the_door_reads(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    plain = accepted.add(file, "scanner")
    allowance = accepted.Allowance(vlm=True, at_once=4, per_minute=60, mib_per_hour=100)
    accepted.add(file, "openai", allowance)
    scanner, openai = keyfile.read(file, say=pytest.fail)
    assert scanner.digest == hashlib.sha256(plain.encode()).hexdigest()
    assert (scanner.name, scanner.vlm, scanner.limits) == ("scanner", False, {})
    assert openai.vlm
    assert openai.limits == {"at-once": 4, "per-minute": 60, "mib-per-hour": 100}


def test_comments_and_empty_lines_say_nothing() -> None:
    assert parsed(f"# who\n\n  \nsha256:{HASH} one\n") == (
        [keyfile.Key(digest=HASH, name="one", vlm=False, limits={})],
        [],
    )


@pytest.mark.parametrize(
    "line",
    [
        f"sha256:{HASH}",
        f"sha256:{HASH[1:]} one",
        f"md5:{HASH} one",
        f"sha256:{HASH} {'n' * 65}",
        f"sha256:{HASH} one allow=root",
        f"sha256:{HASH} one at-once=0",
        f"sha256:{HASH} one at-once=many",
        f"sha256:{HASH} one per-minute=9999999999",
        f"sha256:{HASH} one\u00e9",
    ],
)
def test_a_wrong_line_lets_nobody_in_and_is_not_repeated(line: str) -> None:
    keys, said = parsed(line)
    assert keys == []
    (only,) = said
    assert only.startswith("keys: line 1 is not")
    assert HASH[1:] not in only


def test_of_a_doubled_hash_the_last_name_counts() -> None:
    keys, _ = parsed(f"sha256:{HASH} one\nsha256:{HASH} two\n")
    assert [key.name for key in keys] == ["two"]


def test_a_file_that_is_no_file_of_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"\0" * (keyfile.LARGEST + 1))
    with pytest.raises(ValueError, match="expected a file of keys"):
        keyfile.read(tmp_path / "keys", say=pytest.fail)
