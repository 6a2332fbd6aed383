"""Pages and pixels of PNG, JPEG and TIFF files, and whether they end as they should; nothing is decoded.

A doubt is not a judgement: the decoder in the judge has the last word (`parse.pictures`).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from paddock.errors import UsageError

MAX_PIXELS = 178_956_970  # an image of more is refused by PaddleX (inference/utils/pdf_rendering.py)

_MAX_TIFF_PAGES = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """`doubt` is why the file may be cut off or damaged; empty where nothing hints at it."""

    pages: int
    doubt: str = ""


def check_pixels(width: int, height: int, *, page: int | None = None) -> None:
    """Raise UsageError for a picture without pixels, or of more than the API takes."""
    where = "" if page is None else f"page {page}: "
    if width == 0 or height == 0:
        raise UsageError(
            f"{where}the image is damaged: found {width} x {height} pixels, expected at least 1 x 1",
            hint=_AGAIN,
        )
    if width * height > MAX_PIXELS:
        raise UsageError(
            f"{where}found {width} x {height} = {width * height:,} pixels, expected at most {MAX_PIXELS:,}",
            hint="scale the image down or cut it into parts",
        )


_AGAIN = "copy or export the file again"


def _damaged(kind: str) -> UsageError:
    return UsageError(f"the {kind} is damaged or cut off: its header ends before the image size", hint=_AGAIN)


# --- PNG ----------------------------------------------------------------------------------------------------

_LARGEST_CHECKED = 1 << 16  # bytes of a chunk whose checksum is looked at; pixels have one of their own


def png_header(file: BinaryIO) -> Header:
    """Return what the chunks of a PNG say. Raises UsageError for a damaged or too large image."""
    file.seek(8)
    header = file.read(16)
    if len(header) < 16 or header[4:8] != b"IHDR":
        raise _damaged("PNG")
    check_pixels(*struct.unpack(">II", header[8:]))
    return Header(pages=1, doubt=_png_doubt(file))


def _png_doubt(file: BinaryIO) -> str:
    at, size = 8, file.seek(0, os.SEEK_END)
    while at + 12 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        at += 12 + length
        if name == b"IEND":
            return ""
        if name != b"IDAT" and length <= _LARGEST_CHECKED and at <= size:
            data = file.read(length + 4)
            if zlib.crc32(data[:-4], zlib.crc32(name)) != int.from_bytes(data[-4:], "big"):
                return f"its chunk {name.decode('ascii', 'replace')} has a wrong checksum"
    return "it ends before its end marker (IEND)"


# --- JPEG ---------------------------------------------------------------------------------------------------

# Start-of-frame markers; C4, C8 and CC in that range mean something else.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_TAIL = 4096  # bytes that some cameras and programs fill up with zeros


def jpeg_header(file: BinaryIO) -> Header:
    """Return what the segments of a JPEG say. Raises UsageError for a damaged or too large image."""
    file.seek(2)
    while True:
        marker = _next_jpeg_marker(file)
        if marker is None:
            raise _damaged("JPEG")
        if marker in _JPEG_BARE:
            continue
        segment = file.read(7)
        if marker in _JPEG_FRAMES and len(segment) == 7:
            height, width = struct.unpack(">HH", segment[3:])
            check_pixels(width, height)
            return Header(pages=1, doubt=_jpeg_doubt(file))
        if len(segment) < 2 or marker == _JPEG_SCAN:  # image data before any frame header
            raise _damaged("JPEG")
        file.seek(int.from_bytes(segment[:2], "big") - len(segment), os.SEEK_CUR)


def _next_jpeg_marker(file: BinaryIO) -> int | None:
    """The code after the next FF; a marker may be padded with more FF bytes."""
    while (byte := file.read(1)) not in (b"\xff", b""):
        pass
    while byte == b"\xff":
        byte = file.read(1)
    return byte[0] if byte else None


def _jpeg_doubt(file: BinaryIO) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
    return (
        "" if file.read().rstrip(b"\0").endswith(_JPEG_END) else "it does not end with its end marker (EOI)"
    )


# --- TIFF ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class TiffForm:
    """How one form of TIFF writes its numbers: the formats are `struct`'s, the sizes and places in bytes."""

    order: str
    offset: str
    count: str
    entry: int  # size of an entry of a directory
    first: int  # where the offset of the first directory stands
    big: bool


def _classic(order: str) -> TiffForm:
    return TiffForm(order=order, offset="I", count="H", entry=12, first=4, big=False)


def _big(order: str) -> TiffForm:
    return TiffForm(order=order, offset="Q", count="Q", entry=20, first=8, big=True)


# By the first four bytes of the file.
TIFF_FORMS: dict[bytes, TiffForm] = {
    b"II*\0": _classic("<"),
    b"MM\0*": _classic(">"),
    b"II+\0": _big("<"),
    b"MM\0+": _big(">"),
}
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # field types of sizes, places and the like
_WIDTH, _HEIGHT, _COMPRESSION = 256, 257, 259
_PIXELS = ((273, 279), (324, 325))  # places and sizes of strips, of tiles
_MOST_PIECES = 1 << 20  # strips or tiles of a page

# What Pillow's libtiff cannot decode, by the number of the compression (tiff.h of libtiff).
_UNREADABLE = {
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT",
    32908: "Pixar film",
    32909: "Pixar log",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


_FILLING = frozenset({2, 3, 4, 6, 7})  # CCITT, JPEG: their decoders make up what is missing, without a word


def tiff_header(file: BinaryIO) -> Header:
    """Return what the directories of a TIFF say. Raises UsageError for a damaged file, or a huge page."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    form = TIFF_FORMS[file.read(4)]
    pages, filled, doubt, unreadable = 0, 0, "", set[str | None]()
    try:
        for directory in _directories(form, file):
            pages += 1
            if pages > _MAX_TIFF_PAGES:
                raise UsageError(
                    f"found more than {_MAX_TIFF_PAGES:,} pages: the TIFF is damaged", hint=_AGAIN
                )
            check_pixels(directory.one(_WIDTH), directory.one(_HEIGHT), page=pages)
            compression = directory.one(_COMPRESSION)
            unreadable.add(_UNREADABLE.get(compression))
            if not directory.pixels_within(size):
                doubt = doubt or f"the pixels of page {pages} lie behind its end"
                filled += compression in _FILLING
    except struct.error as cut:
        raise _damaged("TIFF") from cut
    if pages == 0:
        raise UsageError("found 0 pages, expected at least 1", hint=_AGAIN)
    if filled == pages:  # no decoder would tell; the server does so for single pages
        raise UsageError(f"the TIFF is cut off: {doubt}", hint=_AGAIN)
    if None not in unreadable:
        names = " and ".join(sorted(filter(None, unreadable)))
        raise UsageError(
            f"this TIFF is compressed with {names}, which cannot be read",
            hint="save it with another compression, such as LZW or CCITT G4, in the program that made it",
        )
    return Header(pages=pages, doubt=doubt)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Directory:
    """An image file directory: what describes one page."""

    form: TiffForm
    file: BinaryIO
    entries: dict[int, tuple[int, int, bytes]]  # tag -> field type, count, the value or where it lies

    def one(self, tag: int) -> int:
        """The first number of an entry; 0 where there is none."""
        kind, count, value = self.entries.get(tag, (0, 0, b""))
        if kind not in _TIFF_NUMBERS or count == 0:
            return 0
        return int(struct.unpack_from(self.form.order + _TIFF_NUMBERS[kind], value)[0])

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All numbers of an entry. Raises struct.error where they lie behind the end of the file."""
        kind, count, value = self.entries.get(tag, (0, 0, b""))
        if kind not in _TIFF_NUMBERS or count > _MOST_PIECES:
            return ()
        form = f"{self.form.order}{count}{_TIFF_NUMBERS[kind]}"
        if struct.calcsize(form) <= len(value):
            return struct.unpack_from(form, value)
        (place,) = struct.unpack(self.form.order + self.form.offset, value)
        return _unpack_at(self.file, place, form)

    def pixels_within(self, size: int) -> bool:
        """Whether all strips or tiles lie in the first `size` bytes of the file."""
        try:
            return all(
                place + length <= size
                for places, lengths in _PIXELS
                for place, length in zip(self.numbers(places), self.numbers(lengths), strict=False)
            )
        except struct.error:
            return False


def _directories(form: TiffForm, file: BinaryIO) -> Iterator[_Directory]:
    """Yield each image file directory. Raises struct.error where the file is cut."""
    seen: set[int] = set()
    (offset,) = _unpack_at(file, form.first, form.order + form.offset)
    while offset and offset not in seen:
        seen.add(offset)
        (count,) = _unpack_at(file, offset, form.order + form.count)
        start = offset + struct.calcsize(form.order + form.count)
        file.seek(start)
        written = file.read(count * form.entry if count < 1 << 16 else 0)
        if len(written) != count * form.entry:
            raise struct.error("cut off")
        yield _Directory(form=form, file=file, entries=_entries(form, written))
        (offset,) = _unpack_at(file, start + len(written), form.order + form.offset)


def _entries(form: TiffForm, written: bytes) -> dict[int, tuple[int, int, bytes]]:
    layout = struct.Struct(f"{form.order}HH{form.offset}{struct.calcsize(form.order + form.offset)}s")
    return {tag: (kind, count, value) for tag, kind, count, value in layout.iter_unpack(written)}


def _unpack_at(file: BinaryIO, offset: int, form: str) -> tuple[int, ...]:
    try:
        file.seek(offset)
    except (OSError, OverflowError, ValueError) as wild:
        raise struct.error("offset out of range") from wild
    return struct.unpack(form, file.read(struct.calcsize(form)))
