"""Where the members of a layer's tar lie, told while its bytes go past: frames are cut and deltas matched on
this.

A walker reads headers as the engines' own reader (Go's archive/tar) does and never holds a body. It refuses
nothing: what is no tar from some byte on is told as opaque, for the layer's digest decides what a layer is,
not we.
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
    """What the bytes of a piece are. All but bodies is structure."""

    HEADER = (
        "header"  # one member's header, with the long names, pax records and sparse maps that belong to it
    )
    BODY = "body"
    PADDING = "padding"  # zeros behind a body, and the blocks that end the archive
    OPAQUE = "opaque"  # no tar from here to the end


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
    """Takes the stream in pieces of any size and returns what became known with each.

    A body is told as soon as its header is complete, with the size that stands there: before its first byte
    is fed, perhaps with more than the stream then has. All other pieces are told when their last byte was
    fed.
    """

    def __init__(self) -> None:
        self._fed = 0
        self._skip = 0  # bytes still to come of a body and its padding
        self._opaque = False
        self._held = bytearray()  # of the header: what of the unit being read has come
        self._wanted = BLOCK
        self._start = 0  # of the member's first block
        self._extension: bytes | None = None  # the kind of extension whose data is being read
        self._path: str | None = None  # from a long name or from pax records
        self._size: int | None = None  # from pax records
        self._member: tuple[str, int] | None = None  # name and size of a sparse member whose map goes on

    def feed(self, data: bytes | memoryview) -> list[Piece]:
        """The pieces that became known with these bytes, in the order in which they lie."""
        found: list[Piece] = []
        view, at = memoryview(data), 0
        while at < len(view):
            if self._opaque:
                found.append(Piece(kind=Kind.OPAQUE, path="", offset=self._fed, size=len(view) - at))
                self._fed += len(view) - at
                break
            if self._skip:
                taken = min(self._skip, len(view) - at)
                self._skip -= taken
            else:
                taken = min(self._wanted - len(self._held), len(view) - at)
                self._held += view[at : at + taken]
            at += taken
            self._fed += taken
            if len(self._held) == self._wanted:
                self._unit_complete(found)
        return found

    @property
    def body(self) -> int:
        """How many of the next bytes tell nothing, a body's and its padding's, and may be skipped."""
        return _TO_THE_END if self._opaque else self._skip

    @property
    def wanted(self) -> int:
        """Bytes after them with which something more may become known."""
        return self._wanted - len(self._held)

    def skip(self, size: int) -> None:
        """Go past bytes of a body without being fed them."""
        self._skip -= 0 if self._opaque else size
        self._fed += size

    def close(self) -> list[Piece]:
        """What is left when the stream has ended: a header that was cut short."""
        unread = 0 if self._opaque else self._fed - self._start
        return [Piece(kind=Kind.OPAQUE, path="", offset=self._start, size=unread)] if unread > 0 else []

    def _unit_complete(self, found: list[Piece]) -> None:
        unit = bytes(self._held)
        self._held.clear()
        if self._extension is not None:
            self._extension_complete(unit)
        elif self._member is not None:
            if not unit[504]:  # no further block of the sparse map
                self._member_complete(*self._member, found)
        elif unit == _ZEROS and self._fed - BLOCK == self._start:
            _add_padding(found, self._start)
            self._start = self._fed
        elif (size := _size(unit)) is None or (unit[156:157] in _EXTENSIONS and size > LARGEST_EXTENSION):
            self._opaque = True
            found.append(Piece(kind=Kind.OPAQUE, path="", offset=self._start, size=self._fed - self._start))
        else:
            self._header_complete(unit, size, found)

    def _header_complete(self, header: bytes, size: int, found: list[Piece]) -> None:
        kind = header[156:157]
        if kind in _EXTENSIONS:
            if size:
                self._extension, self._wanted = kind, size + -size % BLOCK
            return
        path = self._path if self._path is not None else _name(header)
        size = 0 if kind[0] in _WITHOUT_BODY else size if self._size is None else self._size
        if kind == _SPARSE and header[482] and header[257:265] == b"ustar  \0":
            self._member = path, size
        else:
            self._member_complete(path, size, found)

    def _extension_complete(self, data: bytes) -> None:
        if self._extension == _LONG_NAME:
            self._path = _text(data)
        elif self._extension == _PAX:
            records = dict(_pax_records(data))
            name = records.get(b"GNU.sparse.name", records.get(b"path"))
            self._path = self._path if name is None else _text(name)
            size = records.get(b"size", b"")
            self._size = int(size) if size.isdigit() else self._size
        self._extension, self._wanted = None, BLOCK

    def _member_complete(self, path: str, size: int, found: list[Piece]) -> None:
        found.append(Piece(kind=Kind.HEADER, path=path, offset=self._start, size=self._fed - self._start))
        padding = -size % BLOCK
        if size:
            found.append(Piece(kind=Kind.BODY, path=path, offset=self._fed, size=size))
        if padding:
            found.append(Piece(kind=Kind.PADDING, path=path, offset=self._fed + size, size=padding))
        self._skip = size + padding
        self._start = self._fed + self._skip
        self._path = self._size = self._member = None


def walk(stream: Iterable[bytes]) -> Iterator[Piece]:
    """The pieces of a whole tar: without gap or overlap from its first to its last byte, also where it is cut
    short.
    """
    walker = TarWalker()
    fed = 0
    ahead: list[Piece] = []  # told, but not yet fed
    for data in stream:
        ahead += walker.feed(data)
        fed += len(data)
        whole = sum(1 for each in ahead if each.end <= fed)
        yield from ahead[:whole]
        del ahead[:whole]
    for piece in [*ahead, *walker.close()]:
        if piece.offset < fed:
            yield replace(piece, size=min(piece.size, fed - piece.offset))


def _add_padding(found: list[Piece], offset: int) -> None:
    """One block of zeros, joined to those before it."""
    start = offset
    if found and found[-1].kind is Kind.PADDING and not found[-1].path and found[-1].end == offset:
        start = found.pop().offset
    found.append(Piece(kind=Kind.PADDING, path="", offset=start, size=offset + BLOCK - start))


def _size(header: bytes) -> int | None:
    """The size field of a block that is a header; None where it is none: its checksum or its numbers are not
    right.
    """
    stated = _number(header[148:156])
    blank = sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")
    if stated != blank and stated != blank - 256 * sum(each > 127 for each in header[:148] + header[156:]):
        return None  # some old tars summed signed bytes
    return _number(header[124:136])


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
    """The records `<length> <key>=<value>\\n`; what cannot be read ends them."""
    while data:
        length, space, _ = data[:20].partition(b" ")
        if not (space and length.isdigit() and len(length) < int(length) <= len(data)):
            return
        key, equals, value = data[len(length) + 1 : int(length)].partition(b"=")
        if not equals:
            return
        yield key, value.removesuffix(b"\n")
        data = data[int(length) :]
