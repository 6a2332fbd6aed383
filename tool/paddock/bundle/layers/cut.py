"""Where a layer's tar is cut into the frames of its blob.

The same raw bytes always give the same frames, and a change moves few borders: small members are grouped, and
a group ends where a member's name says so; a large body has frames of its own, cut by its content (FastCDC).
So equal files give equal frames however their headers differ.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from pyfastcdc import FastCDC

from paddock.bundle.layers.tarwalk import Kind, Piece, TarWalker

SMALLEST = 1 << 20  # raw bytes; ends of members and of large bodies may give less
AVERAGE = 2 << 20
LARGEST = 8 << 20
LARGE_BODY = 4 << 20  # bytes from which a body has frames of its own; a group of small members ends here, too
_STEP = 1 << 20
_TO_THE_END = 1 << 62


class Cutter:
    """Takes a raw layer in pieces of any size and gives back its frames' raw bytes; holds little more than
    one frame.

    It works in steps of its own, so nothing depends on the sizes of the pieces that it is fed.
    """

    def __init__(self) -> None:
        self._walker = TarWalker()
        self._waiting = bytearray()  # less than a step
        self._cdc = FastCDC(AVERAGE, min_size=SMALLEST, max_size=LARGEST, seed=0)
        self._held = bytearray()
        self._start = 0  # of what is held
        self._pieces: list[Piece] = []  # begun, but not yet looked at
        self._member = 0  # where the member before began
        self._large: int | None = None  # the end of the large body that is being cut

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete with these bytes."""
        self._waiting += data
        while len(self._waiting) >= _STEP:
            self._look_at(bytes(self._waiting[:_STEP]))
            del self._waiting[:_STEP]
            yield from self._complete(ended=False)

    def close(self) -> Iterator[bytes]:
        """The frames that are left when the layer has ended."""
        self._look_at(bytes(self._waiting))
        self._pieces += self._walker.close()
        yield from self._complete(ended=True)

    def _look_at(self, step: bytes) -> None:
        self._held += step
        self._pieces += self._walker.feed(step)

    def _complete(self, *, ended: bool) -> Iterator[bytes]:
        while self._held:
            if self._large is not None:
                length = self._length_of_content(self._large, ended=ended)
                if length == 0:
                    return
                yield self._take(length)
                if self._start == self._large:
                    self._large = None
            elif self._pieces and self._pieces[0].offset - self._start <= LARGEST:
                border = self._border(self._pieces.pop(0))
                if border > self._start:
                    yield self._take(border - self._start)
            elif len(self._held) >= LARGEST or ended:
                yield self._take(min(LARGEST, len(self._held)))
            else:
                return

    def _length_of_content(self, end: int, *, ended: bool) -> int:
        """Bytes of the next frame inside a large body; 0 while that cannot be said."""
        length = min(len(self._held), end - self._start, LARGEST)
        if length < min(LARGEST, end - self._start) and not ended:
            return 0
        with memoryview(self._held) as held, held[:length] as content:
            return next(iter(self._cdc.cut_buf(content))).length

    def _border(self, piece: Piece) -> int:
        """The offset before which a frame ends because of this piece; the start of what is held where none
        does.
        """
        if (piece.kind is Kind.BODY and piece.size >= LARGE_BODY) or piece.kind is Kind.OPAQUE:
            self._large = piece.end if piece.kind is Kind.BODY else _TO_THE_END
            return piece.offset
        if piece.kind is not Kind.HEADER:
            return self._start
        length, spanned = piece.offset - self._start, piece.offset - self._member
        self._member = piece.offset
        named = zlib.crc32(piece.path.encode("utf-8", "surrogateescape")) * AVERAGE < spanned << 32
        return piece.offset if length >= LARGE_BODY or (length >= SMALLEST and named) else self._start

    def _take(self, length: int) -> bytes:
        with memoryview(self._held) as held:
            frame = bytes(held[:length])
        del self._held[:length]
        self._start += length
        return frame


def frames(layer: Iterable[bytes]) -> Iterator[bytes]:
    """The raw bytes of each frame of a layer."""
    cutter = Cutter()
    for data in layer:
        yield from cutter.feed(data)
    yield from cutter.close()
