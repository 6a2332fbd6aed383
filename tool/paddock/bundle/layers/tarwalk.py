"""The members of a layer's tar and where they lie, found while its bytes go past.

Frames are cut and deltas are matched along them. A walker reads headers as the engines' own reader (Go's
archive/tar) does, and never holds a body. It refuses nothing: a stream is opaque from where it is no tar, for
a layer is whatever has the layer's digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

BLOCK = 512
LARGEST_EXTENSION = 1 << 20  # bytes of a long name or of pax records; Go's reader refuses more, too

_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SPARSE = b"L", b"K", b"x", b"g", b"S"
_EXTENSIONS = (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL)
_WITHOUT_BODY = frozenset(b"123456")  # links, devices, folders, pipes: their size field means nothing
_ZEROS = bytes(BLOCK)
_TO_THE_END = 1 << 62


class Kind(StrEnum):
    """What the bytes of a piece are."""

    HEADER = "header"  # of one member, with the long names, pax records and sparse maps that belong to it
    BODY = "body"  # the content of a member
    PADDING = "padding"  # the zeros behind a body, and the blocks that end the archive
    OPAQUE = "opaque"  # not a tar from here to the end


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """`size` bytes from `offset` of the stream; `path` is the member's name, empty where there is none."""

    kind: Kind
    path: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


class TarWalker:
    """Takes the stream in pieces of any size and returns the pieces of the tar that became known.

    A body is known as soon as its header is complete: before its first byte is fed, and with the size that
    the header declares, even if the stream turns out to be shorter. Any other piece is known once its last
    byte is fed.
    """

    def __init__(self) -> None:
        self._fed = 0
        self._skip = 0  # bytes still to come of a body and its padding
        self._opaque = False
        self._held = bytearray()  # what has come of the unit that is being read
        self._unit_size = BLOCK  # a unit is a block of a header, or the data of an extension
        self._start = 0  # of the member's first block
        self._extension: bytes | None = None  # the type of the extension whose data is being read
        self._path: str | None = None  # from a long name or from pax records
        self._size: int | None = None  # from pax records
        self._sparse: tuple[str, int] | None = None  # name and size of a sparse member whose map goes on

    def feed(self, data: bytes | memoryview) -> list[Piece]:
        """The pieces that became known with these bytes, in the order in which they lie."""
        pieces: list[Piece] = []
        view = memoryview(data)
        while view:
            if self._opaque:
                pieces.append(Piece(kind=Kind.OPAQUE, path="", offset=self._fed, size=len(view)))
                self._fed += len(view)
                break
            if self._skip:
                taken = min(self._skip, len(view))
                self._skip -= taken
            else:
                taken = min(self.needed, len(view))
                self._held += view[:taken]
            view = view[taken:]
            self._fed += taken
            if len(self._held) == self._unit_size:
                self._unit_complete(pieces)
        return pieces

    @property
    def skippable(self) -> int:
        """How many of the next bytes say nothing about the tar, being of a body, its padding, or opaque."""
        return _TO_THE_END if self._opaque else self._skip

    @property
    def needed(self) -> int:
        """How many bytes complete what is being read, after those that are skippable."""
        return self._unit_size - len(self._held)

    def skip(self, size: int) -> None:
        """Go past bytes that are skippable without being fed them."""
        self._skip -= 0 if self._opaque else size
        self._fed += size

    def close(self) -> list[Piece]:
        """The piece that is left when the stream has ended: a header that was cut short."""
        unread = 0 if self._opaque else self._fed - self._start
        return [Piece(kind=Kind.OPAQUE, path="", offset=self._start, size=unread)] if unread > 0 else []

    def _unit_complete(self, pieces: list[Piece]) -> None:
        unit = bytes(self._held)
        self._held.clear()
        if self._extension is not None:
            self._extension_complete(unit)
        elif self._sparse is not None:
            if not unit[504]:  # no further block of the sparse map
                self._member_complete(*self._sparse, pieces)
        elif unit == _ZEROS and self._fed - BLOCK == self._start:
            _add_padding(pieces, self._start)
            self._start = self._fed
        elif (size := _size(unit)) is not None and not _is_too_large(unit, size):
            self._header_complete(unit, size, pieces)
        else:
            self._opaque = True
            pieces.append(Piece(kind=Kind.OPAQUE, path="", offset=self._start, size=self._fed - self._start))

    def _header_complete(self, header: bytes, size: int, pieces: list[Piece]) -> None:
        kind = _type(header)
        if kind in _EXTENSIONS:
            if size:
                self._extension, self._unit_size = kind, size + -size % BLOCK
            return
        path = self._path if self._path is not None else _name(header)
        if self._size is not None:
            size = self._size
        if kind[0] in _WITHOUT_BODY:
            size = 0
        if kind == _SPARSE and header[482] and header[257:265] == b"ustar  \0":
            self._sparse = path, size
        else:
            self._member_complete(path, size, pieces)

    def _extension_complete(self, data: bytes) -> None:
        if self._extension == _LONG_NAME:
            self._path = _text(data)
        elif self._extension == _PAX:
            records = dict(_pax_records(data))
            name = records.get(b"GNU.sparse.name", records.get(b"path"))
            self._path = self._path if name is None else _text(name)
            size = records.get(b"size", b"")
            self._size = int(size) if size.isdigit() else self._size
        self._extension, self._unit_size = None, BLOCK

    def _member_complete(self, path: str, size: int, pieces: list[Piece]) -> None:
        pieces.append(Piece(kind=Kind.HEADER, path=path, offset=self._start, size=self._fed - self._start))
        padding = -size % BLOCK
        if size:
            pieces.append(Piece(kind=Kind.BODY, path=path, offset=self._fed, size=size))
        if padding:
            pieces.append(Piece(kind=Kind.PADDING, path=path, offset=self._fed + size, size=padding))
        self._skip = size + padding
        self._start = self._fed + self._skip
        self._path = self._size = self._sparse = None


def walk(stream: Iterable[bytes]) -> Iterator[Piece]:
    """The pieces of a whole tar, without gap or overlap from its first byte to its last.

    That also holds for a tar that is cut short.
    """
    walker = TarWalker()
    fed = 0
    ahead: list[Piece] = []  # known, but not completely fed
    for data in stream:
        ahead += walker.feed(data)
        fed += len(data)
        complete = sum(1 for piece in ahead if piece.end <= fed)
        yield from ahead[:complete]
        del ahead[:complete]
    for piece in [*ahead, *walker.close()]:
        if piece.offset < fed:
            yield replace(piece, size=min(piece.size, fed - piece.offset))


def _add_padding(pieces: list[Piece], offset: int) -> None:
    """Add one block of zeros, joined to those before it."""
    start = offset
    last = pieces[-1] if pieces else None
    if last and last.kind is Kind.PADDING and not last.path and last.end == offset:
        start = pieces.pop().offset
    pieces.append(Piece(kind=Kind.PADDING, path="", offset=start, size=offset + BLOCK - start))


def _type(header: bytes) -> bytes:
    return header[156:157]


def _is_too_large(header: bytes, size: int) -> bool:
    return _type(header) in _EXTENSIONS and size > LARGEST_EXTENSION


def _size(block: bytes) -> int | None:
    """The size field of a header; None for a block that is no header, by its checksum or its numbers."""
    checksum = _number(block[148:156])
    without_checksum = block[:148] + block[156:]
    unsigned = sum(without_checksum) + 8 * ord(" ")
    if checksum != unsigned:
        signed = unsigned - 256 * sum(byte > 127 for byte in without_checksum)  # as some old tars have it
        if checksum != signed:
            return None
    return _number(block[124:136])


def _number(field: bytes) -> int | None:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0").split(b"\0")[0]
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return None


def _name(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
        return f"{prefix}/{name}"
    return name


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records `<length> <key>=<value>\\n`, up to the first that is malformed."""
    while data:
        length, space, _ = data[:20].partition(b" ")
        if not (space and length.isdigit() and len(length) < int(length) <= len(data)):
            return
        key, equals, value = data[len(length) + 1 : int(length)].partition(b"=")
        if not equals:
            return
        yield key, value.removesuffix(b"\n")
        data = data[int(length) :]
