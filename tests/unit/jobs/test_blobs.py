"""Stored files are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from blobs import Blobs


def test_a_file_appears_whole(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    with blobs.writing("documents/a") as file:
        file.write(b"one")
        assert not (tmp_path / "documents/a").exists()
        file.write(memoryview(b"two"))
    assert blobs.read("documents/a") == b"onetwo"
    assert (file.size, file.sha256) == (6, hashlib.sha256(b"onetwo").digest())


def test_what_goes_wrong_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    with pytest.raises(OSError, match="No space left"), blobs.writing("documents/a") as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list((tmp_path / "documents").iterdir()) == []


def test_files_and_folders_are_removed(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    blobs.put("results/a.1/result.jsonl", b"x")
    blobs.put("documents/a", b"x")
    for key in ("results/a.1", "documents/a", "documents/never"):
        blobs.remove(key)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["documents", "results"]


def test_old_files(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    assert blobs.older("documents", 10) == []
    blobs.put("documents/new", b"x")
    blobs.put("documents/old", b"x")
    os.utime(tmp_path / "documents/old", (1, 1))
    assert blobs.older("documents", 10) == ["documents/old"]
