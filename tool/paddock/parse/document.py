"""What an input file is, judged by its content: its kind, its pages, and why it cannot be parsed.

Everything that the pipeline API would refuse, and that we can know from a few bytes, is refused here with the
reason in plain words, before anything is sent. Pixels are not decoded: only headers are read. Writes nothing.
"""

from __future__ import annotations

import codecs
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import BinaryIO

from paddock.errors import UsageError
from paddock.parse.imagesizes import TIFF_FORMS, jpeg_pages, png_pages, tiff_pages

EXPECTED = "expected PDF, PNG, JPEG or TIFF"
SUFFIXES = frozenset({".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})  # these promise a supported kind

_HEAD = 1024  # PDF readers accept %PDF- anywhere in the first 1,024 bytes


class Kind(StrEnum):
    """The supported kinds of file."""

    PDF = "PDF"
    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document that can be sent; messages call it `name`, and `open` gives its bytes from the first on."""

    name: str
    kind: Kind
    size: int  # bytes
    pages: int
    open: Callable[[], BinaryIO]


def shown(path: Path | str) -> str:
    """Return the path for messages and JSON: bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(path).decode("utf-8", "replace")


def require_file(path: Path) -> os.stat_result:
    """Return size and times of a readable, non-empty regular file.

    Raises UsageError that says what is there instead.
    """
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
    """Return what `path` holds. Raises UsageError for everything that cannot be parsed."""
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
    """Whether a file in a folder is meant to be parsed, by its content or by a name that promises it."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return kind_of(file.read(_HEAD)) is not None
    except OSError:
        return False


def kind_of(head: bytes) -> Kind | None:
    """Return the kind that the first bytes of a file show."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if head[:4] in TIFF_FORMS:
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
        # An incremental decoder, because the last character may be cut.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return all(character.isprintable() or character.isspace() for character in text.lstrip("\ufeff"))


def _pdf_pages(name: str, file: BinaryIO) -> int:
    import pypdf  # noqa: PLC0415 - slow to import, and only PDFs need it

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it logs what it repairs; we report what it cannot
    file.seek(0)
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UsageError(
                f"{name}: the PDF needs a password", hint="save a copy without a password and parse that"
            )
        pages = len(reader.pages)
    except UsageError:
        raise
    except Exception as failure:  # of many kinds on damaged files, RecursionError and KeyError among them
        raise UsageError(
            f"{name}: the PDF is damaged: {str(failure).strip() or type(failure).__name__}",
            hint="open it in a PDF viewer and print or export it to a new PDF",
        ) from failure
    if pages == 0:
        raise UsageError(f"{name}: found 0 pages, expected at least 1")
    return pages


_PAGES: dict[Kind, Callable[[str, BinaryIO], int]] = {
    Kind.PDF: _pdf_pages,
    Kind.PNG: png_pages,
    Kind.JPEG: jpeg_pages,
    Kind.TIFF: tiff_pages,
}
