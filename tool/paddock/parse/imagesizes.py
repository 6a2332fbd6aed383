"""Pages and pixels of PNG, JPEG and TIFF files, read from their headers without decoding anything."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from paddock.errors import UsageError

MAX_PIXELS = 178_956_970  # an image of more is refused by PaddleX (inference/utils/pdf_rendering.py)

_MAX_TIFF_PAGES = 100_000


def _check_pixels(name: str, width: int, height: int, *, page: int | None = None) -> None:
    where = name if page is None else f"{name}: page {page}"
    if width == 0 or height == 0:
        raise UsageError(
            f"{where}: the image is damaged: found {width} x {height} pixels, expected at least 1 x 1"
        )
    if width * height > MAX_PIXELS:
        raise UsageError(
            f"{where}: found {width} x {height} = {width * height:,} pixels, expected at most {MAX_PIXELS:,}",
            hint="scale the image down or cut it into parts",
        )


def _damaged(name: str, kind: str) -> UsageError:
    return UsageError(
        f"{name}: the {kind} is damaged or cut off: its header ends before the image size",
        hint="copy or export the file again",
    )


def png_pages(name: str, file: BinaryIO) -> int:
    """Return the number of pages, which is 1. Raises UsageError for a damaged or too large image."""
    file.seek(8)
    header = file.read(16)
    if len(header) < 16 or header[4:8] != b"IHDR":
        raise _damaged(name, "PNG")
    _check_pixels(name, *struct.unpack(">II", header[8:]))
    return 1


# Start-of-frame markers; C4, C8 and CC in that range mean something else.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def jpeg_pages(name: str, file: BinaryIO) -> int:
    """Return the number of pages, which is 1. Raises UsageError for a damaged or too large image."""
    file.seek(2)
    while True:
        marker = _next_jpeg_marker(file)
        if marker is None:
            raise _damaged(name, "JPEG")
        if marker in _JPEG_BARE:
            continue
        segment = file.read(7)
        if marker in _JPEG_FRAMES and len(segment) == 7:
            height, width = struct.unpack(">HH", segment[3:])
            _check_pixels(name, width, height)
            return 1
        if len(segment) < 2 or marker == 0xDA:  # image data before any frame header
            raise _damaged(name, "JPEG")
        file.seek(int.from_bytes(segment[:2], "big") - len(segment), os.SEEK_CUR)


def _next_jpeg_marker(file: BinaryIO) -> int | None:
    """The code after the next FF; a marker may be padded with more FF bytes."""
    while (byte := file.read(1)) not in (b"\xff", b""):
        pass
    while byte == b"\xff":
        byte = file.read(1)
    return byte[0] if byte else None


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
_TIFF_SIZES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # field types that a width or height may have
_WIDTH, _HEIGHT = 256, 257


def tiff_pages(name: str, file: BinaryIO) -> int:
    """Return the number of pages. Raises UsageError for a damaged file or a page that is too large."""
    file.seek(0)
    form = TIFF_FORMS[file.read(4)]
    pages = 0
    try:
        for width, height in _tiff_sizes(form, file):
            pages += 1
            _check_pixels(name, width, height, page=pages)
            if pages > _MAX_TIFF_PAGES:
                raise UsageError(f"{name}: found more than {_MAX_TIFF_PAGES:,} pages: the TIFF is damaged")
    except struct.error as cut:
        raise _damaged(name, "TIFF") from cut
    if pages == 0:
        raise UsageError(f"{name}: found 0 pages, expected at least 1")
    if form.big and pages > 1:
        raise UsageError(
            f"{name}: found a BigTIFF of {pages} pages, "
            "and the pipeline API reads only the first page of a BigTIFF",
            hint="save it as a classic TIFF or a PDF",
        )
    return pages


def _tiff_sizes(form: TiffForm, file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield width and height of each image file directory. Raises struct.error where the file is cut."""
    seen: set[int] = set()
    offset = _unpack_at(file, form.first, form.order + form.offset)
    while offset and offset not in seen:
        seen.add(offset)
        count = _unpack_at(file, offset, form.order + form.count)
        start = offset + struct.calcsize(form.order + form.count)
        file.seek(start)
        entries = file.read(count * form.entry if count < 1 << 16 else 0)
        if len(entries) != count * form.entry:
            raise struct.error("cut off")
        yield _tiff_size(form, entries)
        offset = _unpack_at(file, start + len(entries), form.order + form.offset)


def _tiff_size(form: TiffForm, entries: bytes) -> tuple[int, int]:
    found: dict[int, int] = {}
    for start in range(0, len(entries), form.entry):
        tag, kind = struct.unpack_from(form.order + "HH", entries, start)
        if tag in (_WIDTH, _HEIGHT) and kind in _TIFF_SIZES:
            value_at = start + 4 + struct.calcsize(form.order + form.offset)
            (found[tag],) = struct.unpack_from(form.order + _TIFF_SIZES[kind], entries, value_at)
    return found.get(_WIDTH, 0), found.get(_HEIGHT, 0)


def _unpack_at(file: BinaryIO, offset: int, form: str) -> int:
    try:
        file.seek(offset)
    except (OSError, OverflowError, ValueError) as wild:
        raise struct.error("offset out of range") from wild
    value: int
    (value,) = struct.unpack(form, file.read(struct.calcsize(form)))
    return value
