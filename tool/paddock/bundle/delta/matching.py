"""Which bytes of a new layer are in base layers already: content-defined chunking, and an index of hashes.

Chunks are found by their content, so neither names, times nor order matter, and none crosses the boundary of
a tar member's header or body. A chunk that a base has is copied. For any other, the place in a base is given
where similar bytes are likely: in the member of the same name (digits do not count, for versions change),
near where the last copy came from.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyfastcdc import FastCDC

from paddock.bundle.delta.recipe import LARGEST_LAYER, Extent
from paddock.bundle.layers.tarwalk import Kind, Piece, TarWalker

SMALLEST_CHUNK = 64 << 10  # average size in bytes; 32 KiB gain nothing (measured on torch and vLLM)
MOST_CHUNKS = 200_000  # that an index should hold; larger bases are cut into larger chunks
# Bytes before and behind the likely place that count as near it; 8 MiB gain 1 % (torch and vLLM).
REACH = 2 << 20
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """A chunk of the new layer that a base has, at `source`."""

    source: Extent


@dataclass(frozen=True, kw_only=True, slots=True)
class New:
    """A chunk of the new layer that no base has; what is at `near` may be similar to it."""

    data: bytes
    near: Extent | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unit:
    """A member's header, or its body with the padding; where a layer is no tar, all that is there."""

    header: bool
    path: str
    offset: int


class BaseIndex:
    """Where each chunk and each member of the base layers is.

    It takes about 200 bytes of memory for a chunk, and 400 for a member.
    """

    def __init__(self, *, total: int) -> None:
        """`total` is roughly how many bytes of layers will be added: the size of chunks depends on it."""
        self._average = SMALLEST_CHUNK
        while self._average * MOST_CHUNKS < total:
            self._average *= 2
        self._chunks: dict[bytes, int] = {}
        self._units: dict[bytes, int] = {}
        self._bases = 0

    def add(self, layer: Iterable[bytes]) -> None:
        """Index one more base layer; bases are numbered from 0."""
        unit, end = None, 0
        for current, offset, data in _chunks(layer, self._average):
            if unit is not None and current is not unit:
                self._add_unit(unit, end)
            unit, end = current, offset + len(data)
            place = _packed(Extent(base=self._bases, offset=offset, size=len(data)))
            self._chunks.setdefault(_key(data), place)
        if unit is not None:
            self._add_unit(unit, end)
        self._bases += 1

    def match(self, layer: Iterable[bytes]) -> Iterator[Copied | New]:
        """The new layer from its first byte to its last, chunk by chunk."""
        unit, like, shift = None, None, 0
        for current, offset, data in _chunks(layer, self._average):
            if current is not unit:
                unit, like = current, self._like(current)
                shift = like.offset - current.offset if like else 0
            place = self._chunks.get(_key(data))
            if place is None:
                yield New(data=data, near=like and _near(like, offset + shift, len(data)))
                continue
            source = _unpacked(place)
            if like and source.base == like.base and like.offset <= source.offset < like.end:
                shift = source.offset - offset
            yield Copied(source=source)

    def _add_unit(self, unit: _Unit, end: int) -> None:
        place = _packed(Extent(base=self._bases, offset=unit.offset, size=end - unit.offset))
        for name in {_name(unit), _versionless(unit)}:
            self._units.setdefault(name, place)

    def _like(self, unit: _Unit) -> Extent | None:
        """The unit of a base that has the same name, or the same but for digits."""
        place = self._units.get(_name(unit), self._units.get(_versionless(unit)))
        return None if place is None else _unpacked(place)


def _near(like: Extent, likely: int, size: int) -> Extent:
    """The part of `like` around the offset `likely`, for a chunk of `size` bytes."""
    if like.size <= 2 * REACH:
        return like
    start = max(like.offset, min(likely - REACH, like.end - 2 * REACH))
    return Extent(base=like.base, offset=start, size=min(like.end, start + size + 2 * REACH) - start)


# --- extents and names as small values, for an index of hundreds of thousands -------------------------------


def _packed(extent: Extent) -> int:
    return (extent.base * LARGEST_LAYER + extent.offset) * LARGEST_LAYER + extent.size


def _unpacked(place: int) -> Extent:
    start, size = divmod(place, LARGEST_LAYER)
    base, offset = divmod(start, LARGEST_LAYER)
    return Extent(base=base, offset=offset, size=size)


def _key(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def _name(unit: _Unit) -> bytes:
    return _name_key(unit.path, header=unit.header)


def _versionless(unit: _Unit) -> bytes:
    return _name_key(_DIGITS.sub("#", unit.path), header=unit.header)


def _name_key(path: str, *, header: bool) -> bytes:
    return _key(f"{header:d}{path}".encode("utf-8", "surrogateescape"))


# --- chunks -------------------------------------------------------------------------------------------------


def _chunks(layer: Iterable[bytes], average: int) -> Iterator[tuple[_Unit, int, bytes]]:
    """The chunks of a layer: the unit that a chunk belongs to, its offset in the layer, its bytes."""
    cdc = FastCDC(average, min_size=average // 4, max_size=average * 4, seed=0)
    unit, held, start = None, bytearray(), 0
    for current, data in _spans(layer):
        if unit is not None and current is not unit:
            yield from ((unit, start + offset, chunk) for offset, chunk in _cut(cdc, held))
            start += len(held)
            held.clear()
        unit = current
        held += data
        if len(held) > 16 * average:
            *complete, (rest, _) = _cut(cdc, held)  # where the last one ends depends on the bytes to come
            yield from ((unit, start + offset, chunk) for offset, chunk in complete)
            start += rest
            del held[:rest]
    if unit is not None:
        yield from ((unit, start + offset, chunk) for offset, chunk in _cut(cdc, held))


def _cut(cdc: FastCDC, data: bytearray) -> list[tuple[int, bytes]]:
    """The chunks of `data`: the offset and the bytes of each."""
    with memoryview(data) as view:
        return [
            (chunk.offset, bytes(view[chunk.offset : chunk.offset + chunk.length]))
            for chunk in cdc.cut_buf(view)
        ]


def _spans(layer: Iterable[bytes]) -> Iterator[tuple[_Unit, bytes]]:
    """The layer in pieces, none of which crosses the boundary of a unit."""
    unit, last = _Unit(header=False, path="", offset=0), None
    for piece, data in _pieces(layer):
        if piece is not last and _begins(piece, last):
            unit = _Unit(header=piece.kind is Kind.HEADER, path=piece.path, offset=piece.offset)
        last = piece
        yield unit, data


def _begins(piece: Piece, last: Piece | None) -> bool:
    """Whether a unit begins with this piece.

    Padding belongs to the body before it; several opaque pieces, or end blocks, in sequence are one unit.
    """
    if piece.kind is Kind.PADDING and piece.path:
        return False
    return last is None or piece.kind in (Kind.HEADER, Kind.BODY) or piece.kind is not last.kind


def _pieces(layer: Iterable[bytes]) -> Iterator[tuple[Piece, bytes]]:
    """Each piece of the walk with its bytes; a piece may come several times, each time with some of them."""
    walker, held, start = TarWalker(), bytearray(), 0
    pieces: deque[Piece] = deque()

    def complete() -> Iterator[tuple[Piece, bytes]]:
        nonlocal start
        while pieces and held:
            size = min(len(held), pieces[0].end - start)
            yield pieces[0], bytes(held[:size])
            del held[:size]
            start += size
            if start == pieces[0].end:
                pieces.popleft()

    for data in layer:
        held += data
        pieces += walker.feed(data)
        yield from complete()
    pieces += walker.close()
    yield from complete()
