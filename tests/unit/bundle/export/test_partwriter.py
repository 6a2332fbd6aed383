"""Parts of an archive: their bytes, their hashes, and going on with those of an earlier run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from layer_files import noise
from paddock.bundle.export.partwriter import PARTIAL, PartWriter
from paddock.bundle.format.manifest import Part
from paddock.errors import BundleError

SIZE = 1000  # bytes of a part
DATA = noise(2500)


def part(number: int, data: bytes) -> Part:
    return Part(name=f"images.tar.{number:03d}", size=len(data), sha256=hashlib.sha256(data).hexdigest())


def expected(data: bytes) -> tuple[Part, ...]:
    pieces = [data[start : start + SIZE] for start in range(0, len(data), SIZE)]
    return tuple(part(number, piece) for number, piece in enumerate(pieces))


def joined(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def writer(folder: Path) -> PartWriter:
    return PartWriter(folder, "images.tar", SIZE)


@pytest.mark.parametrize("step", [1, 7, SIZE, 2500])
def test_parts_are_full_but_for_the_last(tmp_path: Path, step: int) -> None:
    with writer(tmp_path) as parts:
        for start in range(0, len(DATA), step):
            parts.write(DATA[start : start + step])
        assert {path.suffix for path in tmp_path.iterdir()} == {PARTIAL}
        assert parts.finish() == expected(DATA)
    assert joined(tmp_path) == DATA


@pytest.mark.parametrize("offset", [0, 990, 1000, 1700])
def test_what_is_retained_is_hashed_as_it_is_in_the_end(tmp_path: Path, offset: int) -> None:
    header = b"h" * 20
    with writer(tmp_path) as parts:
        parts.write(DATA[:offset])
        assert parts.retain(len(header)) == offset
        parts.write(bytes(len(header)))
        parts.write(DATA[offset + len(header) :])
        parts.overwrite(offset, header)
        whole = DATA[:offset] + header + DATA[offset + len(header) :]
        assert parts.finish() == expected(whole)
    assert joined(tmp_path) == whole


def test_written_bytes_can_be_read(tmp_path: Path) -> None:
    with writer(tmp_path) as parts:
        parts.write(DATA)
        assert b"".join(parts.read(900, 1300)) == DATA[900:2200]
        with pytest.raises(BundleError, match="found fewer bytes than were written"):
            list(parts.read(2400, 101))


@pytest.mark.parametrize("position", [0, 600, 1000, 1999, 2500])
def test_a_later_run_goes_on_anywhere(tmp_path: Path, position: int) -> None:
    with writer(tmp_path) as parts:
        parts.write(DATA)
        parts.finish()  # as if it had been stopped just after that
    with writer(tmp_path) as parts:
        parts.resume(position)
        assert parts.position == position
        parts.write(DATA[position:])
        assert parts.finish() == expected(DATA)
    assert joined(tmp_path) == DATA


def test_a_part_that_lost_bytes_is_refused(tmp_path: Path) -> None:
    with writer(tmp_path) as parts:
        parts.write(DATA)
    with (
        writer(tmp_path) as parts,
        pytest.raises(BundleError, match=r"002\.partial: found 500 bytes, an earlier run had written 1000"),
    ):
        parts.resume(2500 + 500)


def test_a_medium_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    with pytest.raises(BundleError, match=f"{folder}: cannot be written to"), writer(folder) as parts:
        parts.write(DATA)
