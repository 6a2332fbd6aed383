"""What an input file is, judged by its content: its kind, its pages, and why it cannot be parsed.

Everything that the pipeline API would refuse, and that can be known here, is refused here with the reason in
plain words, before anything is sent. Headers are read in this process; what takes a decoder is asked of the
judge (`parse.judging`), which also turns other pictures and office documents into what the API reads.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import BinaryIO

from paddock.errors import UsageError, quoted
from paddock.parse.imagesizes import TIFF_FORMS, Header, jpeg_header, png_header, tiff_header
from paddock.parse.judging import JUDGE
from paddock.parse.questions import DAMAGED_HINT, Task

EXPECTED = "expected a PDF, a picture or an office document"

# These promise a document.
SUFFIXES = frozenset(
    {
        *(".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff"),
        *(".bmp", ".gif", ".webp", ".heic", ".heif", ".avif", ".jp2", ".pbm", ".pgm", ".ppm"),
        *(".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".ods", ".odp", ".rtf"),
    }
)

_HEAD = 1024  # PDF readers accept %PDF- anywhere in the first 1,024 bytes


class Kind(StrEnum):
    """The kinds of file that the pipeline API reads."""

    PDF = "PDF"
    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document that can be sent; messages call it `name`, and `open` gives its bytes from the first on.

    `converted_from` is what the file was that these bytes were made of, such as "WebP picture"; then
    `source_sha256` is of that file. `notes` are for the user: what was made of the file, what was left out.
    """

    name: str
    kind: Kind
    size: int  # bytes
    pages: int
    open: Callable[[], BinaryIO]
    converted_from: str | None = None
    source_sha256: str | None = None
    notes: tuple[str, ...] = ()


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
    """Return what `path` holds, converted where the API reads it as nothing else.

    Raises UsageError for everything that cannot be parsed, PreflightError where this host cannot look at it,
    Interrupted after `abort`.
    """
    size = require_file(path).st_size
    name = shown(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if kind := kind_of(head):
                return _as_it_is(path, kind, size, file)
            picture = _picture_in(head)
            what = picture or _office_document_in(path, head)
            if what:
                file.seek(0)
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                return _converted(path, Task.PICTURE if picture else Task.OFFICE, what, sha256)
        raise UsageError(f"found {_describe(head)}, {EXPECTED}", hint=_next_step(path, head))
    except UsageError as refused:
        raise UsageError(f"{name}: {refused.message}", hint=refused.hint) from refused
    except OSError as failure:
        raise UsageError(f"{name}: cannot be read: {failure.strerror}") from failure


def abort() -> None:
    """End every `inspect` that is under way: its thread raises Interrupted."""
    JUDGE.abort()


def looks_parsable(path: Path) -> bool:
    """Whether a file in a folder is meant to be parsed, by its content or by a name that promises it.

    Raises PreflightError where this host cannot look at it.
    """
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        return bool(kind_of(head) or _picture_in(head) or _office_document_in(path, head))
    except FileNotFoundError:
        return False
    except (UsageError, OSError):
        return True  # it is reported when its turn comes


def kind_of(head: bytes) -> Kind | None:
    """Return the kind that the first bytes of a file show."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if head[:4] in TIFF_FORMS:
        return Kind.TIFF
    return Kind.PDF if b"%PDF-" in head else None


def _as_it_is(path: Path, kind: Kind, size: int, file: BinaryIO) -> Document:
    if kind is Kind.PDF:
        verdict = JUDGE.look(path, Task.PDF)
        pages, notes = verdict.pages, verdict.notes
    else:
        header = _HEADERS[kind](file)
        pages, notes = header.pages, ()
        if header.doubt:
            notes = _although(header, kind, path)
    return Document(
        name=shown(path), kind=kind, size=size, pages=pages, open=partial(_open, path), notes=notes
    )


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _although(header: Header, kind: Kind, path: Path) -> tuple[str, ...]:
    """Have a doubtful picture decoded. Raises UsageError with the reason of the doubt if it cannot be."""
    try:
        return JUDGE.look(path, Task.WHOLE).notes
    except UsageError as refused:
        raise UsageError(f"the {kind} is damaged or cut off: {header.doubt}", hint=DAMAGED_HINT) from refused


def _converted(path: Path, task: Task, what: str, sha256: str) -> Document:
    verdict, made = JUDGE.convert(path, task)
    kind = Kind.PNG if task is Task.PICTURE else Kind.PDF
    return Document(
        name=shown(path),
        kind=kind,
        size=made.size,
        pages=verdict.pages,
        open=made.open,
        converted_from=what,
        source_sha256=sha256,
        notes=(f"{what}, sent as {kind}", *verdict.notes),
    )


# Pictures that are converted, by their first bytes.
_PICTURES: dict[bytes, str] = {
    b"GIF87a": "GIF picture",
    b"GIF89a": "GIF picture",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "JPEG 2000 picture",
}
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})  # sizes of what follows the first 14 bytes
_PNM = re.compile(rb"P[1-6]\s(?:\s|#[^\n]*\n)*[0-9]+\s+[0-9]+\s")  # width and height follow


def _picture_in(head: bytes) -> str:
    """What a picture that is to be converted is called; empty where it is none."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP picture"
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[at : at + 4] for at in (8, *range(16, end, 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF picture"
        return "HEIC picture" if brands & _HEIF_BRANDS else ""
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP picture"
    if _PNM.match(head):
        return "PNM picture"
    return next((what for magic, what in _PICTURES.items() if head.startswith(magic)), "")


_ARCHIVES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"{\\rtf")  # ZIP, compound file, RTF


def _office_document_in(path: Path, head: bytes) -> str:
    """What an office document is called; empty where it is none."""
    return JUDGE.look(path, Task.OFFICE_KIND).what if head.startswith(_ARCHIVES) else ""


# What people send by mistake, by its first bytes.
_OTHERS: dict[bytes, str] = {
    b"RIFF": "a RIFF file such as a sound or a video",
    b"PK\x03\x04": "a ZIP archive",
    b"\xd0\xcf\x11\xe0": "a compound file that is no office document",
    b"\x1f\x8b": "gzip data",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"8BPS": "a Photoshop picture",
    b"AT&TFORM": "a DjVu document",
    b"%!PS": "a PostScript document",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
}
_PROGRAMS: dict[str, str] = {  # that make a file of ours of it
    "a Photoshop picture": "convert {path} {path}.png",
    "a DjVu document": "ddjvu -format=pdf {path} {path}.pdf",
    "a PostScript document": "ps2pdf {path} {path}.pdf",
    "a JPEG XL picture": "djxl {path} {path}.png",
}


def _next_step(path: Path, head: bytes) -> str:
    if program := _PROGRAMS.get(_describe(head)):
        return f"convert it and parse that: `{program.format(path=quoted(path))}`"
    if path.suffix.lower() not in SUFFIXES:
        return ""
    return f"a name that ends in {path.suffix} does not make it one: export or convert the file"


def _describe(head: bytes) -> str:
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            return what
    if _is_text(head):
        return "HTML text" if head.lstrip()[:9].lower().startswith((b"<html", b"<!doctype")) else "text"
    if head[4:8] == b"ftyp":
        return "a video"
    return f"unknown data (it begins with {head[:8].hex(' ')})"


def _is_text(head: bytes) -> bool:
    try:
        # An incremental decoder, because the last character may be cut.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return all(character.isprintable() or character.isspace() for character in text.lstrip("\ufeff"))


_HEADERS: dict[Kind, Callable[[BinaryIO], Header]] = {
    Kind.PNG: png_header,
    Kind.JPEG: jpeg_header,
    Kind.TIFF: tiff_header,
}
