"""Which bytes of a new layer base layers have already: found by content, so neither names, times nor order
matter.

Layers are cut into chunks by their content, none of which crosses the border of a tar member's header or
body. A chunk that a base has is copied. For any other one, a place in a base is told where similar bytes may
be: in the member of the same name (digits do not count: versions change), near where the last copy came from.
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
REACH = (
    2 << 20
)  # bytes before and behind the likely place that are told as near; 8 MiB gain 1 % (torch and vLLM)
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """The next bytes of the new layer are those of `source`."""

    source: Extent


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknown:
    """The next bytes of the new layer are nowhere in the bases; `near` may be similar."""

    data: bytes
    near: Extent | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unit:
    """A header, or a body with its padding; where a layer is no tar, all that is there."""

    header: bool
    path: str
    offset: int


class BaseIndex:
    """What is in the base layers. Takes about 200 bytes of memory a chunk, and 400 a member."""

    def __init__(self, *, total: int) -> None:
        """`total` is how many bytes of layers will be added, roughly: the size of chunks depends on it."""
        self._average = SMALLEST_CHUNK
        while self._average * MOST_CHUNKS < total:
            self._average *= 2
        self._chunks: dict[bytes, int] = {}
        self._units: dict[bytes, int] = {}
        self._bases = 0

    def add(self, layer: Iterable[bytes]) -> None:
        """Take in one more base layer; bases are numbered from 0."""
        unit, end = None, 0
        for each, offset, data in _chunks(layer, self._average):
            if unit is not None and each is not unit:
                self._add_unit(unit, end)
            unit, end = each, offset + len(data)
            self._chunks.setdefault(
                _key(data), _packed(Extent(base=self._bases, offset=offset, size=len(data)))
            )
        if unit is not None:
            self._add_unit(unit, end)
        self._bases += 1

    def match(self, layer: Iterable[bytes]) -> Iterator[Known | Unknown]:
        """The new layer from its first byte to its last, chunk by chunk."""
        unit, like, shift = None, None, 0
        for each, offset, data in _chunks(layer, self._average):
            if each is not unit:
                unit, like = each, self._like(each)
                shift = like.offset - each.offset if like else 0
            if (place := self._chunks.get(_key(data))) is None:
                yield Unknown(data=data, near=like and _near(like, offset + shift, len(data)))
                continue
            source = _unpacked(place)
            if like and source.base == like.base and like.offset <= source.offset < like.end:
                shift = source.offset - offset
            yield Known(source=source)

    def _add_unit(self, unit: _Unit, end: int) -> None:
        place = _packed(Extent(base=self._bases, offset=unit.offset, size=end - unit.offset))
        for name in {_name(unit), _versionless(unit)}:
            self._units.setdefault(name, place)

    def _like(self, unit: _Unit) -> Extent | None:
        place = self._units.get(_name(unit), self._units.get(_versionless(unit)))
        return None if place is None else _unpacked(place)


def _near(like: Extent, likely: int, size: int) -> Extent:
    if like.size <= 2 * REACH:
        return like
    start = max(like.offset, min(likely - REACH, like.end - 2 * REACH))
    return Extent(base=like.base, offset=start, size=min(like.end, start + size + 2 * REACH) - start)


# --- little memory for many places --------------------------------------------------------------------------


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
    """The layer in chunks: the unit that a chunk is of, its offset in the layer, its bytes."""
    cdc = FastCDC(average, min_size=average // 4, max_size=average * 4, seed=0)
    unit, held, start = None, bytearray(), 0
    for each, data in _spans(layer):
        if unit is not None and each is not unit:
            yield from ((unit, start + at, chunk) for at, chunk in _cut(cdc, held))
            start += len(held)
            held.clear()
        unit = each
        held += data
        if len(held) > 16 * average:
            *whole, (rest, _) = _cut(cdc, held)  # where the last one ends, more bytes decide
            yield from ((unit, start + at, chunk) for at, chunk in whole)
            start += rest
            del held[:rest]
    if unit is not None:
        yield from ((unit, start + at, chunk) for at, chunk in _cut(cdc, held))


def _cut(cdc: FastCDC, data: bytearray) -> list[tuple[int, bytes]]:
    with memoryview(data) as view:
        return [
            (each.offset, bytes(view[each.offset : each.offset + each.length])) for each in cdc.cut_buf(view)
        ]


def _spans(layer: Iterable[bytes]) -> Iterator[tuple[_Unit, bytes]]:
    """The layer in pieces none of which crosses the border of a unit."""
    unit, last = _Unit(header=False, path="", offset=0), None
    for piece, data in _pieces(layer):
        if piece is not last and _begins(piece, last):
            unit = _Unit(header=piece.kind is Kind.HEADER, path=piece.path, offset=piece.offset)
        last = piece
        yield unit, data


def _begins(piece: Piece, last: Piece | None) -> bool:
    """Whether a unit begins with this piece: padding belongs to the body before it, rows of others are one
    unit.
    """
    if piece.kind is Kind.PADDING and piece.path:
        return False
    return last is None or piece.kind in (Kind.HEADER, Kind.BODY) or piece.kind is not last.kind


def _pieces(layer: Iterable[bytes]) -> Iterator[tuple[Piece, bytes]]:
    """Each piece of the walk with its bytes, or with some of them, several times in a row."""
    walker, held, start = TarWalker(), bytearray(), 0
    pieces: deque[Piece] = deque()

    def known() -> Iterator[tuple[Piece, bytes]]:
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
        yield from known()
    pieces += walker.close()
    yield from known()
