"""Blobs: frames in order, each of which can be decompressed alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from layer_files import noise, text
from paddock.bundle.format.libzstd import zstd
from paddock.bundle.layers.cut import frames
from paddock.bundle.layers.framewriter import CompressedFrame, FrameCompressor, compress_frame
from small_images import tar

MEMBERS = {f"lib/{number:04}.py": text(20_000 + number * 7, number) for number in range(400)}
LAYER = tar({**MEMBERS, "weights": noise(30 << 20), "libtorch.so": text(12 << 20)})


def test_blobs_are_frames_in_order_and_each_stands_alone() -> None:
    with FrameCompressor() as compressor:
        blob = list(compressor.compress(frames([LAYER])))
    assert [zstd.decompress(frame) for frame in blob] == list(frames([LAYER]))
    assert blob == [compress_frame(raw) for raw in frames([LAYER])]
    assert zstd.decompress(b"".join(blob)) == LAYER
    assert len(b"".join(blob)) <= 1.03 * len(zstd.compress(LAYER, 3))


def test_a_source_that_fails_ends_the_compressing() -> None:
    def failing() -> Iterator[bytes]:
        yield LAYER[: 1 << 20]
        raise OSError("pulled out")

    with FrameCompressor() as compressor, pytest.raises(OSError, match="pulled out"):
        list(compressor.compress(failing()))


def test_a_frame_that_is_compressed_already_keeps_its_place() -> None:
    raw = [noise(1000, number) for number in range(5)]
    known = [CompressedFrame(data=data) for data in (b"a frame", b"another one")]
    mixed: list[bytes | CompressedFrame] = [raw[0], known[0], *raw[1:], known[1]]
    with FrameCompressor() as compressor:
        made = list(compressor.compress(mixed))
    assert made[1] == b"a frame"
    assert made[-1] == b"another one"
    assert [zstd.decompress(frame) for frame in (made[0], *made[2:-1])] == raw
