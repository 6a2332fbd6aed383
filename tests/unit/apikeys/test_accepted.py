"""The file of accepted keys."""

from __future__ import annotations

import hashlib
import importlib
import os
from pathlib import Path

import pytest

from paddock.apikeys import accepted
from paddock.errors import ConfigurationError, DataError, UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_a_key_is_kept_as_a_hash_only(path: Path) -> None:
    key = accepted.add(path, "scanner")
    assert key.startswith("pk_")
    assert len(key) == 3 + 43  # 32 bytes
    assert path.read_text() == f"sha256:{hashlib.sha256(key.encode()).hexdigest()} scanner\n"
    assert accepted.add(path, "other") != key
    assert [entry.name for entry in accepted.listed(path)] == ["scanner", "other"]


def test_the_api_takes_what_was_added_and_not_what_was_revoked(path: Path) -> None:
    """`keys.py` of its image reads the same file, while it is written."""
    keys = importlib.import_module("keys").Keys(path)
    one, other = accepted.add(path, "one"), accepted.add(path, "other")
    assert (keys.name_of(one), keys.name_of(other), keys.name_of("pk_none")) == ("one", "other", None)
    accepted.revoke(path, "one")
    assert (keys.name_of(one), keys.name_of(other)) == (None, "other")


def test_everybody_may_not_read_it_and_its_group_stays(path: Path) -> None:
    before = os.umask(0o077)
    try:
        accepted.add(path, "one")
        assert path.stat().st_mode & 0o777 == 0o640
        group = max(os.getgroups(), default=os.getgid())
        os.chown(path, -1, group)
        accepted.add(path, "other")
        assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o640, group)
    finally:
        os.umask(before)


def test_comments_stay(path: Path) -> None:
    path.write_bytes(b"# caf\xe9\n\n")
    accepted.add(path, "one")
    accepted.add(path, "two")
    accepted.revoke(path, "one")
    lines = path.read_bytes().splitlines()
    assert lines[:2] == [b"# caf\xe9", b""]
    assert lines[2].endswith(b" two")


@pytest.mark.parametrize("name", ["", "a b", "a\n", "ä", "x" * 65, "../x", "a\x1b"])
def test_what_is_no_name(path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a key"):
        accepted.add(path, name)
    assert not path.exists()


def test_a_name_that_is_taken_or_unknown(path: Path) -> None:
    accepted.add(path, "one")
    with pytest.raises(UsageError, match="has a key named one already"):
        accepted.add(path, "one")
    with pytest.raises(UsageError, match="found one, expected two"):
        accepted.revoke(path, "two")


def test_a_line_that_is_none(path: Path) -> None:
    path.write_text("# a\nsha256:abc one\n")
    for act in (lambda: accepted.listed(path), lambda: accepted.add(path, "two")):
        with pytest.raises(DataError, match=r"keys:2:1: found a line that is no key"):
            act()
    assert path.read_text() == "# a\nsha256:abc one\n"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file") as refused:
        accepted.listed(tmp_path / "keys")
    assert f"`mkdir -p {tmp_path} && paddock keys add NAME --file {tmp_path}/keys`" in refused.value.hint
    with pytest.raises(ConfigurationError, match="cannot be written"):
        accepted.add(tmp_path / "absent" / "keys", "one")
