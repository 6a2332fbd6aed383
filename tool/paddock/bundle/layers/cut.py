"""Where a layer's tar is cut into the frames of its blob: content-defined chunking that knows tar members.

The same raw bytes always give the same frames, and a change moves few boundaries. Small members are grouped,
and a member's name decides whether a group ends before it; a large body has frames of its own, cut by its
content (FastCDC). So equal files give equal frames, however their headers differ.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from paddock.bundle.layers.tarwalk import Kind, Piece, TarWalker

# Raw bytes of a frame. The last one before a large body, or of such a body, may be smaller.
SMALLEST = 1 << 20
AVERAGE = 2 << 20
LARGEST = 8 << 20
LARGE_BODY = 4 << 20  # bytes from which a body has frames of its own, and from which a group of members ends
_STEP = 1 << 20
_TO_THE_END = 1 << 62


class Cutter:
    """Takes a raw layer in pieces of any size and gives back the raw bytes of its frames.

    It holds little more than one frame, and works in steps of its own, so the frames do not depend on the
    sizes of the pieces that it is fed.
    """

    def __init__(self) -> None:
        from pyfastcdc import FastCDC  # noqa: PLC0415 - most commands of a site cut nothing

        self._walker = TarWalker()
        self._waiting = bytearray()  # less than a step
        self._cdc = FastCDC(AVERAGE, min_size=SMALLEST, max_size=LARGEST, seed=0)
        self._held = bytearray()  # of the layer, from the start of the next frame
        self._start = 0  # where in the layer that is
        self._pieces: list[Piece] = []  # that begin in what is held or behind it
        self._last_header = 0  # where the last member began
        self._large_end: int | None = None  # the end of the large body that is being cut

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that these bytes complete."""
        self._waiting += data
        while len(self._waiting) >= _STEP:
            self._take_in(bytes(self._waiting[:_STEP]))
            del self._waiting[:_STEP]
            yield from self._complete(ended=False)

    def close(self) -> Iterator[bytes]:
        """The frames that are left when the layer has ended."""
        self._take_in(bytes(self._waiting))
        self._pieces += self._walker.close()
        yield from self._complete(ended=True)

    def _take_in(self, step: bytes) -> None:
        self._held += step
        self._pieces += self._walker.feed(step)

    def _complete(self, *, ended: bool) -> Iterator[bytes]:
        while self._held:
            if self._large_end is not None:
                length = self._content_length(self._large_end, ended=ended)
                if length == 0:
                    return
                yield self._take(length)
                if self._start == self._large_end:
                    self._large_end = None
            elif self._pieces and self._pieces[0].offset - self._start <= LARGEST:
                boundary = self._boundary(self._pieces.pop(0))
                if boundary > self._start:
                    yield self._take(boundary - self._start)
            elif len(self._held) >= LARGEST or ended:
                yield self._take(min(LARGEST, len(self._held)))
            else:
                return

    def _content_length(self, end: int, *, ended: bool) -> int:
        """Bytes of the next frame of a large body; 0 while more bytes are needed to tell."""
        length = min(len(self._held), end - self._start, LARGEST)
        if length < min(LARGEST, end - self._start) and not ended:
            return 0
        with memoryview(self._held) as held, held[:length] as content:
            return next(iter(self._cdc.cut_buf(content))).length

    def _boundary(self, piece: Piece) -> int:
        """The offset of the frame boundary that a piece makes; the start of what is held if it makes none."""
        if piece.kind is Kind.OPAQUE or (piece.kind is Kind.BODY and piece.size >= LARGE_BODY):
            self._large_end = piece.end if piece.kind is Kind.BODY else _TO_THE_END
            return piece.offset
        if piece.kind is not Kind.HEADER:
            return self._start
        length = piece.offset - self._start
        member = piece.offset - self._last_header
        self._last_header = piece.offset
        if length >= LARGE_BODY or (length >= SMALLEST and _ends_group(piece.path, member)):
            return piece.offset
        return self._start

    def _take(self, length: int) -> bytes:
        with memoryview(self._held) as held:
            frame = bytes(held[:length])
        del self._held[:length]
        self._start += length
        return frame


def _ends_group(path: str, before: int) -> bool:
    """Whether a group ends at this member, which the hash of its name decides.

    The chance is that of one boundary in `AVERAGE` bytes; `before` is how many bytes the member before has.
    """
    return zlib.crc32(path.encode("utf-8", "surrogateescape")) * AVERAGE < before << 32


def frames(layer: Iterable[bytes]) -> Iterator[bytes]:
    """The raw bytes of each frame of a layer, in order."""
    cutter = Cutter()
    for data in layer:
        yield from cutter.feed(data)
    yield from cutter.close()
