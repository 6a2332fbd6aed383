"""Layer blobs as a sequence of zstd frames, which makes them seekable.

The frames are independent of each other, lie end to end, and each declares how many raw bytes it holds. So a
blob needs no index: its frames are found by walking frame and block headers, and any raw byte is read by
decompressing one frame. Blobs may be hostile: neither a frame nor a stream ever gives more than was declared,
and memory is bounded. The frame format is RFC 8878, section 3.1.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeAlias

from paddock.bundle.format.libzstd import zstd
from paddock.errors import BundleError

LARGEST_FRAME = 32 << 20  # raw bytes in one frame; a reader keeps one in memory
MOST_FRAMES = 250_000  # in one blob: a table of them takes 45 MB
SMALLEST_PREFIX = 8  # bytes; the library takes no shorter one
STEP = 1 << 20  # bytes in one piece of a stream

_MAGIC = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_LONGEST_HEADER = 18
# Bytes of all blocks of a frame: incompressible data grows by 3 bytes in 128 KiB.
_LARGEST_BLOCKS = LARGEST_FRAME + (1 << 20)
_MOST_BLOCKS = 65_536  # in one frame; 256 are usual in the largest
_RLE_BLOCK, _RESERVED_BLOCK = 1, 3
_CACHED = 16 << 20  # raw bytes of the frames read last, in each open blob

_RAW_OFFSET = attrgetter("raw_offset")

Dictionary: TypeAlias = "tuple[zstd.ZstdDict, int]"  # what compressors take as `zstd_dict`
ReadAt = Callable[[int, int], bytes]  # offset, length -> exactly that many bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One frame: where it lies in the blob, and where its content lies in the raw layer."""

    offset: int
    size: int
    raw_offset: int
    raw_size: int


class FramedBlob:
    """A layer blob of `size` bytes whose frames decompress to `raw_size` bytes.

    `read` reads from the blob, and `where` begins the messages of errors. `frames` is what `walk` found in
    the blob, where that is known already.
    """

    def __init__(
        self, read: ReadAt, *, size: int, raw_size: int, where: str, frames: tuple[Frame, ...] | None = None
    ) -> None:
        self.size, self.raw_size, self.where = size, raw_size, where
        self._read = read
        self._frames = frames
        self._cache: OrderedDict[int, bytes] = OrderedDict()

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Every frame with content, in order. The first call walks the headers of the whole blob."""
        if self._frames is None:
            self._frames = tuple(self._walk())
        return self._frames

    def check(self) -> None:
        """Raise BundleError unless the frames declare `raw_size` bytes together; decompresses nothing."""
        for _ in self._walk():
            pass

    def compressed(self, frame: Frame) -> bytes:
        """The compressed bytes of one frame."""
        return self._read(frame.offset, frame.size)

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` raw bytes from `offset`.

        Raises BundleError outside the layer, and for a damaged frame.
        """
        if offset < 0 or length < 0 or offset + length > self.raw_size:
            raise BundleError(
                f"{self.where}: found no bytes {offset} to {offset + length}, it has {self.raw_size}"
            )
        frames = self.frames
        pieces: list[bytes] = []
        number = bisect_right(frames, offset, key=_RAW_OFFSET) - 1
        while length:
            frame = frames[number]
            start = offset - frame.raw_offset
            piece = self._raw(number)[start : start + length]
            pieces.append(piece)
            offset, length, number = offset + len(piece), length - len(piece), number + 1
        return b"".join(pieces)

    def stream(self) -> Iterator[bytes]:
        """All raw bytes in pieces of at most 1 MiB, frame by frame."""
        frames = self._walk() if self._frames is None else self._frames
        for frame in frames:
            raw = decompress(self.compressed(frame), frame.raw_size, where=self.where)
            yield from (raw[start : start + STEP] for start in range(0, len(raw), STEP))

    def _raw(self, number: int) -> bytes:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        frame = self.frames[number]
        raw = decompress(self.compressed(frame), frame.raw_size, where=self.where)
        self._cache[number] = raw
        while sum(len(cached) for cached in self._cache.values()) > _CACHED:
            self._cache.popitem(last=False)
        return raw

    def _walk(self) -> Iterator[Frame]:
        """The frames. Raises BundleError unless they declare exactly `raw_size` bytes together."""
        declared = 0
        for frame in walk(self._read, self.size, where=self.where):
            declared += frame.raw_size
            if declared > self.raw_size:
                raise BundleError(f"{self.where}: found frames for more than {self.raw_size} raw bytes")
            yield frame
        if declared != self.raw_size:
            raise BundleError(
                f"{self.where}: found frames for {declared} raw bytes, expected {self.raw_size}"
            )


def decompress(data: bytes, raw_size: int, *, prefix: bytes = b"", where: str) -> bytes:
    """The content of one frame; `prefix` is what it was compressed against, if anything.

    Raises BundleError unless that is exactly `raw_size` bytes; never makes more.
    """
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: LARGEST_FRAME.bit_length() - 1}
    decompressor = zstd.ZstdDecompressor(zstd_dict=as_prefix(prefix), options=options)
    try:
        raw = decompressor.decompress(data, raw_size)
        if len(raw) == raw_size and not decompressor.eof:
            raw += decompressor.decompress(b"", 1)  # a frame's end may come after its last byte
    except zstd.ZstdError as broken:
        raise BundleError(f"{where}: found a damaged frame ({broken})") from None
    if len(raw) != raw_size or not decompressor.eof or decompressor.unused_data:
        raise BundleError(f"{where}: found an incomplete frame, expected {raw_size} raw bytes in it")
    return raw


def as_prefix(data: bytes) -> Dictionary | None:
    """`data` as a prefix that a frame can refer to; None where it is too short to be one."""
    return zstd.ZstdDict(data, is_raw=True).as_prefix if len(data) >= SMALLEST_PREFIX else None


def walk(read: ReadAt, size: int, *, where: str) -> Iterator[Frame]:
    """The frames of a blob of `size` bytes, found by their headers; decompresses nothing.

    Skippable and empty frames are passed over. Raises BundleError for anything but a sequence of whole
    frames, each with its raw size in its header.
    """
    offset = raw_offset = number = 0
    while offset < size:
        if (number := number + 1) > MOST_FRAMES:
            raise BundleError(f"{where}: found more than {MOST_FRAMES} frames")
        raw_size, end = _frame(read, offset, size, where)
        if raw_size:
            yield Frame(offset=offset, size=end - offset, raw_offset=raw_offset, raw_size=raw_size)
        offset, raw_offset = end, raw_offset + raw_size


def _frame(read: ReadAt, offset: int, size: int, where: str) -> tuple[int, int]:
    """The raw size and the end of the frame at `offset`."""
    header = read(offset, min(_LONGEST_HEADER, size - offset))
    magic = int.from_bytes(header[:4], "little")
    if magic in _SKIPPABLE and len(header) >= 8:
        end = offset + 8 + int.from_bytes(header[4:8], "little")
        if end > size:
            raise _cut(where, offset)
        return 0, end
    if magic != _MAGIC:
        raise BundleError(f"{where}: found no zstd frame at byte {offset}")
    length, raw_size, checksum = _header(header, offset, where)
    return raw_size, _end_of_blocks(read, offset + length, size, where) + checksum


def _header(header: bytes, offset: int, where: str) -> tuple[int, int, int]:
    """The length of a frame's header, the raw size that it declares, the length of its checksum."""
    if len(header) < 6:
        raise _cut(where, offset)
    descriptor = header[4]
    single_segment = descriptor >> 5 & 1
    window_descriptor = 0 if single_segment else 1
    dictionary_id = (0, 1, 2, 4)[descriptor & 3]
    start = 5 + window_descriptor + dictionary_id
    width = (single_segment, 2, 4, 8)[descriptor >> 6]
    if not width:
        raise BundleError(f"{where}: found a frame at byte {offset} that does not say its raw size")
    raw_size = int.from_bytes(header[start : start + width], "little") + (256 if width == 2 else 0)
    if raw_size > LARGEST_FRAME:
        raise BundleError(
            f"{where}: found a frame of {raw_size} raw bytes at byte {offset},"
            f" expected at most {LARGEST_FRAME}"
        )
    return start + width, raw_size, 4 * (descriptor >> 2 & 1)


def _end_of_blocks(read: ReadAt, offset: int, size: int, where: str) -> int:
    """Where the blocks end that begin at `offset`."""
    last, start, number = False, offset, 0
    while not last:
        if offset + 3 > size:
            raise _cut(where, offset)
        if (number := number + 1) > _MOST_BLOCKS or offset - start > _LARGEST_BLOCKS:
            raise BundleError(f"{where}: found a frame at byte {start} with too many blocks")
        block = int.from_bytes(read(offset, 3), "little")
        last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        if kind == _RESERVED_BLOCK:
            raise BundleError(f"{where}: found no zstd block at byte {offset}")
        offset += 3 + (1 if kind == _RLE_BLOCK else length)
    if offset > size:
        raise _cut(where, offset)
    return offset


def _cut(where: str, offset: int) -> BundleError:
    return BundleError(f"{where}: its last frame is cut at byte {offset}")
