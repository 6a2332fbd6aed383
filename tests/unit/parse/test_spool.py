"""The file that keeps what an answer brings."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from paddock.parse.spool import Spool


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    data = os.urandom(600_000)
    pieces = [spool.keep(b"first"), spool.keep(b""), spool.keep(data)]
    assert [piece.read() for piece in pieces] == [b"first", b"", data]
    assert max(map(len, pieces[2].pieces())) < 300_000


def test_nothing_is_to_be_seen_of_it_and_it_ends_with_its_pieces(tmp_path: Path) -> None:
    gc.collect()
    before = descriptors()
    piece = Spool(tmp_path).keep(b"data")
    assert list(tmp_path.iterdir()) == []
    assert piece.read() == b"data"
    assert descriptors() == before + 1
    del piece
    gc.collect()
    assert descriptors() == before


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    assert Spool(tmp_path / "absent").keep(b"").read() == b""
    with pytest.raises(FileNotFoundError):
        Spool(tmp_path / "absent").keep(b"data")
