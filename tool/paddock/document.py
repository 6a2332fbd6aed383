"""What an input file is, told from its content: its kind, its pages, and why it cannot be parsed.

Everything that the pipeline API would refuse, and that we can know from a few bytes, is refused here with the reason
in plain words, before anything is sent. Pixels are not decoded: only headers are read. Writes nothing.
"""

from __future__ import annotations

import codecs
import logging
import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import BinaryIO

from paddock.errors import UsageError

MAX_PIXELS = 178_956_970  # an image of more is refused by PaddleX (inference/utils/pdf_rendering.py)
EXPECTED = "expected PDF, PNG, JPEG or TIFF"
SUFFIXES = frozenset({".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})  # names that promise a supported kind

_HEAD = 1024  # PDF readers accept %PDF- anywhere in the first 1,024 bytes
_MAX_TIFF_PAGES = 100_000


class Kind(StrEnum):
    """The supported kinds of file."""

    PDF = "PDF"
    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document that can be sent. `name` is how messages call it, `open` gives its bytes from the first on."""

    name: str
    kind: Kind
    size: int  # bytes
    pages: int
    open: Callable[[], BinaryIO]


def shown(path: Path | str) -> str:
    """The path for messages and JSON: bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(path).decode("utf-8", "replace")


def require_file(path: Path) -> os.stat_result:
    """Size and times of a readable, non-empty regular file. Raises UsageError that says what is there instead."""
    try:
        status = path.stat()
    except FileNotFoundError as absent:
        raise UsageError(f"{shown(path)}: no such file") from absent
    except OSError as failure:
        raise UsageError(f"{shown(path)}: cannot be read: {failure.strerror}") from failure
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{shown(path)}: a folder that cannot be read")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{shown(path)}: found a pipe, socket or device, {EXPECTED}")
    if status.st_size == 0:
        raise UsageError(f"{shown(path)}: the file is empty, {EXPECTED}")
    return status


def inspect(path: Path) -> Document:
    """What `path` holds. Raises UsageError for everything that cannot be parsed."""
    size = require_file(path).st_size
    name = shown(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            kind = kind_of(head)
            if kind is None:
                raise UsageError(f"{name}: found {_describe(head)}, {EXPECTED}", hint=_renamed(path))
            pages = _PAGES[kind](name, file)
    except OSError as failure:
        raise UsageError(f"{name}: cannot be read: {failure.strerror}") from failure
    return Document(name=name, kind=kind, size=size, pages=pages, open=partial(_open, path))


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def looks_parsable(path: Path) -> bool:
    """Whether a file in a folder is meant to be parsed: by its content, or by a name that promises such content."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return kind_of(file.read(_HEAD)) is not None
    except OSError:
        return False


def kind_of(head: bytes) -> Kind | None:
    """The kind that the first bytes of a file show."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if head[:4] in _TIFF:
        return Kind.TIFF
    return Kind.PDF if b"%PDF-" in head else None


def _renamed(path: Path) -> str:
    if path.suffix.lower() not in SUFFIXES:
        return ""
    return f"a name that ends in {path.suffix} does not make it one: export or convert the file"


# What people send by mistake, by its first bytes.
_OTHERS: dict[bytes, str] = {
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"RIFF": "a RIFF file such as WebP",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x1f\x8b": "gzip data",
    b"8BPS": "a Photoshop image",
    b"AT&TFORM": "a DjVu document",
}


def _describe(head: bytes) -> str:
    if _is_text(head):
        return "HTML text" if head.lstrip()[:9].lower().startswith((b"<html", b"<!doctype")) else "text"
    if head[4:8] == b"ftyp":
        return "a HEIC or AVIF image or a video"
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            return what
    return f"unknown data (it begins with {head[:8].hex(' ')})"


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # incremental: the last character may be cut
    except UnicodeDecodeError:
        return head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return all(character.isprintable() or character.isspace() for character in text.lstrip("\ufeff"))


def _check_pixels(name: str, width: int, height: int, *, page: int | None = None) -> None:
    where = name if page is None else f"{name}: page {page}"
    if width == 0 or height == 0:
        raise UsageError(f"{where}: the image is damaged: found {width} x {height} pixels, expected at least 1 x 1")
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


def _png_pages(name: str, file: BinaryIO) -> int:
    file.seek(8)
    header = file.read(16)
    if len(header) < 16 or header[4:8] != b"IHDR":
        raise _damaged(name, "PNG")
    _check_pixels(name, *struct.unpack(">II", header[8:]))
    return 1


# Start-of-frame markers; C4, C8 and CC in that range mean something else.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def _jpeg_pages(name: str, file: BinaryIO) -> int:
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


@dataclass(frozen=True, slots=True)
class _TiffForm:
    """Numbers of classic TIFF and BigTIFF: struct formats, and where the first directory's offset stands."""

    order: str
    offset: str
    count: str
    entry: int  # bytes
    first: int
    big: bool


_TIFF: dict[bytes, _TiffForm] = {
    b"II*\0": _TiffForm("<", "I", "H", 12, 4, False),
    b"MM\0*": _TiffForm(">", "I", "H", 12, 4, False),
    b"II+\0": _TiffForm("<", "Q", "Q", 20, 8, True),
    b"MM\0+": _TiffForm(">", "Q", "Q", 20, 8, True),
}
_TIFF_SIZES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # field types that a width or height may have
_WIDTH, _HEIGHT = 256, 257


def _tiff_pages(name: str, file: BinaryIO) -> int:
    file.seek(0)
    form = _TIFF[file.read(4)]
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
            f"{name}: found a BigTIFF of {pages} pages, and the pipeline API reads only the first page of a BigTIFF",
            hint="save it as a classic TIFF or a PDF",
        )
    return pages


def _tiff_sizes(form: _TiffForm, file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Width and height of each image file directory of the chain. Raises struct.error where the file is cut."""
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


def _tiff_size(form: _TiffForm, entries: bytes) -> tuple[int, int]:
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


def _pdf_pages(name: str, file: BinaryIO) -> int:
    import pypdf  # noqa: PLC0415 - slow to import, and only PDFs need it

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it logs what it repairs; we report what it cannot
    file.seek(0)
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UsageError(f"{name}: the PDF needs a password", hint="save a copy without a password and parse that")
        pages = len(reader.pages)
    except UsageError:
        raise
    except Exception as failure:  # pypdf raises many kinds on damaged files, RecursionError and KeyError among them
        raise UsageError(
            f"{name}: the PDF is damaged: {str(failure).strip() or type(failure).__name__}",
            hint="open it in a PDF viewer and print or export it to a new PDF",
        ) from failure
    if pages == 0:
        raise UsageError(f"{name}: found 0 pages, expected at least 1")
    return pages


_PAGES: dict[Kind, Callable[[str, BinaryIO], int]] = {
    Kind.PDF: _pdf_pages,
    Kind.PNG: _png_pages,
    Kind.JPEG: _jpeg_pages,
    Kind.TIFF: _tiff_pages,
}
