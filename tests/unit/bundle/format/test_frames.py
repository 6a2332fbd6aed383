"""Frames: found without an index, read at any place, and never more than was declared."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from layer_files import noise
from paddock.bundle.format import frames
from paddock.bundle.format.frames import Frame, FramedBlob, walk
from paddock.bundle.format.libzstd import zstd
from paddock.errors import BundleError
from samples.bundles import framed

RAW = noise(70_000, 3) + b"paddock " * 30_000 + noise(1_000, 4)


def reader(data: bytes) -> Callable[[int, int], bytes]:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(data), "read outside the blob"
        return data[offset : offset + length]

    return read


def opened(blob: bytes, raw_size: int = len(RAW)) -> FramedBlob:
    return FramedBlob(reader(blob), size=len(blob), raw_size=raw_size, where="a layer")


def test_frames_lie_end_to_end_on_both_sides() -> None:
    blob = framed(RAW)
    found = list(walk(reader(blob), len(blob), where="a layer"))
    assert len(found) == len(range(0, len(RAW), 20_000)) > 10
    for one, after in itertools.pairwise(found):
        assert (after.offset, after.raw_offset) == (one.offset + one.size, one.raw_offset + one.raw_size)
    for frame in found:
        raw = zstd.decompress(blob[frame.offset : frame.offset + frame.size])
        assert raw == RAW[frame.raw_offset : frame.raw_offset + frame.raw_size]


@pytest.mark.parametrize("size", [1, 255, 256, 65_791, 65_792, 200_000, 3_000_000])
@pytest.mark.parametrize("level", [-5, 1, 19])
@pytest.mark.parametrize("checksum", [0, 1])
def test_every_form_of_header(size: int, level: int, checksum: int) -> None:
    raw = (b"x" * 1000 + noise(500, size))[:1500] * (size // 1500 + 1)
    raw = raw[:size]
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: checksum,
    }
    frame = zstd.compress(raw, options=options)
    assert list(walk(reader(frame), len(frame), where="it")) == [
        Frame(offset=0, size=len(frame), raw_offset=0, raw_size=size)
    ]
    assert frames.decompress(frame, size, where="it") == raw


def test_skippable_and_empty_frames_are_passed_over() -> None:
    skippable = (0x184D2A5E).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    blob = skippable + framed(RAW) + zstd.compress(b"") + skippable
    assert b"".join(opened(blob).stream()) == RAW
    assert opened(blob).read_at(10, 50_000) == RAW[10:50_010]


def test_a_stream_is_what_the_blob_holds_in_small_pieces() -> None:
    raw = noise(2_500_000, 5)
    pieces = list(opened(framed(raw, 2_000_000), len(raw)).stream())
    assert b"".join(pieces) == raw
    assert max(map(len, pieces)) <= 1 << 20


SHARED = opened(framed(RAW))


@given(some.integers(0, len(RAW)), some.integers(0, len(RAW)))
def test_any_range_reads_as_in_the_raw_layer(one: int, other: int) -> None:
    start, end = sorted((one, other))
    assert SHARED.read_at(start, end - start) == RAW[start:end]


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, len(RAW) + 1), (len(RAW), 1), (5, -1)])
def test_no_range_outside_the_layer(offset: int, length: int) -> None:
    with pytest.raises(BundleError, match="a layer: found no bytes"):
        SHARED.read_at(offset, length)


def unsized(raw: bytes) -> bytes:
    out = io.BytesIO()
    with zstd.open(out, "wb") as stream:
        stream.write(raw)
    return out.getvalue()


GOOD = framed(RAW)
MANY = ((0x184D2A50).to_bytes(4, "little") + bytes(4)) * (frames.MOST_FRAMES + 1)
BIG = zstd.compress(bytes(frames.LARGEST_FRAME + 1))
LYING = zstd.compress(bytes(1_000_000)).replace(
    (1_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")
)
EMPTY_BLOCKS = bytes.fromhex("28b52ffd2001") + bytes(3) * 70_000


@pytest.mark.parametrize(
    ("blob", "raw_size", "words"),
    [
        (GOOD[:-1], len(RAW), "is cut"),
        (GOOD[:3], len(RAW), "no zstd frame"),
        (GOOD[:5], len(RAW), "is cut"),
        (GOOD + b"x", len(RAW), "no zstd frame"),
        (b"\x1f\x8b" + GOOD, len(RAW), "no zstd frame at byte 0"),
        (GOOD, len(RAW) + 1, f"for {len(RAW)} raw bytes, expected {len(RAW) + 1}"),
        (GOOD, len(RAW) - 1, f"more than {len(RAW) - 1} raw bytes"),
        (b"", 1, "for 0 raw bytes"),
        (unsized(RAW), len(RAW), "does not say its raw size"),
        (MANY, len(MANY), "more than 250000 frames"),
        (BIG, frames.LARGEST_FRAME + 1, "expected at most 33554432"),
        (LYING, 1000, "damaged frame|not whole"),
        (EMPTY_BLOCKS, 1, "too many blocks"),
        (GOOD[:7] + b"\x07" + GOOD[8:], len(RAW), "no zstd block at byte 7"),
        (GOOD[:4] + b"\x64" + GOOD[5:], len(RAW), "no zstd frame|damaged"),
    ],
)
def test_refused(blob: bytes, raw_size: int, words: str) -> None:
    for use in (lambda blob: list(blob.stream()), lambda blob: blob.read_at(0, raw_size)):
        with pytest.raises(BundleError, match=words) as caught:
            use(opened(blob, raw_size))
        assert caught.value.message.startswith("a layer: ")
