"""The folder that a parsed document becomes, and whether the one that is there is still good.

    document.md            the whole document; its links lead to pages/.../imgs/
    document.json          the API's result, images replaced by the paths of their files
    pages/001/page.md      one page, pages/001/imgs/ the images that it refers to
    pages/001/layout.jpg   the page with the regions that were found
    .paddock.json          from which bytes and options it was made, and what is wrong with it; written last

It is written beside its final name and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from paddock import durable
from paddock.errors import UnhealthyError, UsageError
from paddock.jsonvalues import MalformedError, decoded, field, optional, typed
from paddock.parse import names, problems
from paddock.parse.document import Document, Kind, kind_of, shown
from paddock.parse.plainmarkdown import plain
from paddock.parse.problems import Problem
from paddock.parse.spool import Kept
from paddock.parse.wire import Page, ParsedDocument, ParseOptions

RECORD = ".paddock.json"
MARKDOWN = "document.md"
JSON = "document.json"

_FORMAT = 1  # of the record and the layout of the folder: another number means "parse it again"
_LAYOUT = "layout_det_res"
_IMAGE_KINDS = {Kind.JPEG: "jpg", Kind.PNG: "png"}
_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_ELSEWHERE = "move it away, or choose another folder with -o"
_LINK = re.compile(r"""(\bsrc\s*=\s*["']?|\]\(\s*<?)([^"'\s<>()]+)(?=["'\s>)])""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a folder holds: its pages, what is wrong with them, and what was done to the file beforehand."""

    pages: int
    problems: tuple[Problem, ...]
    converted_from: str | None
    notes: tuple[str, ...]

    @property
    def failed_pages(self) -> int:
        """How many pages were not read."""
        return problems.failed_pages(self.problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Record:
    """What the folder was made from; `files` are all of its files but the record."""

    format: int
    source: str
    sha256: str
    result: Result
    options: Mapping[str, bool]
    files: tuple[str, ...]

    def json(self) -> str:
        found = {
            "format": self.format,
            "source": self.source,
            "sha256": self.sha256,
            "pages": self.result.pages,
            "problems": [problem.recorded() for problem in self.result.problems],
            "converted_from": self.result.converted_from,
            "notes": self.result.notes,
            "options": self.options,
            "files": self.files,
        }
        return _json(found, 0) + "\n"


def finished(folder: Path, source: Path, options: ParseOptions) -> Result | None:
    """Return what is in `folder` if it need not be made again.

    None where it must be: it is not there or not whole, a page of it was not read, or it was made from other
    bytes than `source` holds now or with other options. Raises UsageError where `source` cannot be read.
    """
    record = _read_record(folder)
    if record is None or record.format != _FORMAT or record.options != options.recorded():
        return None
    if record.result.failed_pages:
        return None
    if not all((folder / name).is_file() for name in record.files):
        return None
    return record.result if _digest_of(source) == record.sha256 else None


def _digest_of(source: Path) -> str:
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as failure:
        raise UsageError(f"{shown(source)}: cannot be read: {failure.strerror}") from failure


def require_replaceable(folder: Path) -> None:
    """Raise UsageError when `folder` holds something that was not written here and must stay.

    That is also the result of a file with a name that this disk takes for the same.
    """
    if not folder.exists():
        return
    record = _read_record(folder)
    if record is not None:
        there, wanted = record.source.rpartition("/")[2], shown(folder.name)
        if there == wanted or not names.alike(there, wanted):
            return
        raise UsageError(
            f"{shown(folder)}: is there already as the result of {record.source}: this disk takes both names "
            "for one",
            hint=_ELSEWHERE,
        )
    if not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(
            f"{shown(folder)}: is there already and was not written by `paddock parse`", hint=_ELSEWHERE
        )


def write(
    folder: Path,
    parsed: ParsedDocument,
    *,
    document: Document,
    options: ParseOptions,
) -> Result:
    """Make `folder`, in place of an older one, and return what it holds.

    Raises UnhealthyError for an image whose name would lead out of the folder.
    """
    result = Result(
        pages=len(parsed.pages),
        problems=parsed.problems,
        converted_from=document.converted_from,
        notes=document.notes,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    tag = hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:16]  # the name may be as long as names can be
    partial, older = folder.with_name(f".partial-{tag}"), folder.with_name(f".older-{tag}")
    _remove(partial)
    try:
        _write_files(partial, parsed, options)
        record = _Record(
            format=_FORMAT,
            source=document.name,
            sha256=document.source_sha256 or parsed.sha256,
            result=result,
            options=options.recorded(),
            files=tuple(
                sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
            ),
        )
        _write(partial / RECORD, [_encoded(record.json())])
        _flush(partial)
        _exchange(folder, partial, older)
        durable.flush_folder(folder.parent)
    finally:
        _remove(partial)
    return result


def _exchange(folder: Path, partial: Path, older: Path) -> None:
    _remove(older)
    if folder.exists():
        folder.rename(older)
    try:
        partial.rename(folder)
    except OSError:
        if older.exists():
            older.rename(folder)
        raise
    _remove(older)


def _write_files(folder: Path, parsed: ParsedDocument, options: ParseOptions) -> None:
    folder.mkdir()
    with (folder / MARKDOWN).open("xb") as markdown, (folder / JSON).open("xb") as answer:
        answer.write(b'{\n "layoutParsingResults": [')
        for number, page in enumerate(parsed.pages, 1):
            at = page_folder(number, len(parsed.pages))
            images = {name: f"{at}/{_image_name(name, data)}" for name, data in page.images.items()}
            pictures = {key: f"{at}/{_picture_name(key, data)}" for key, data in page.pictures.items()}
            for name, path in images.items():
                _write(folder / path, page.images[name].pieces())
            for key, path in pictures.items():
                _write(folder / path, page.pictures[key].pieces())
            text = page.markdown
            shown = plain(text, images=images.keys()) if options.plain else text
            _write(folder / at / "page.md", [_encoded(_ended(shown))])
            if shown.strip():
                markdown.write(
                    _encoded(("\n\n" if markdown.tell() else "") + _relinked(shown, images).strip("\n"))
                )
            answer.write(
                b"," * (number > 1) + b"\n  " + _encoded(_json(_entry(page, text, images, pictures), 2))
            )
        markdown.write(b"\n" if markdown.tell() else b"")
        answer.write(b'\n ],\n "dataInfo": ' + _encoded(_json(parsed.info, 1)) + b"\n}\n")


def page_folder(number: int, total: int) -> str:
    """Return the folder of page `number` (from 1) of `total`; the names sort as the pages do."""
    return f"pages/{number:0{max(3, len(str(total)))}d}"


def _entry(page: Page, text: str, images: Mapping[str, str], pictures: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "prunedResult": page.result,
        "markdown": {"text": text, "images": images},
        "outputImages": pictures,
    }
    if page.problems:
        entry["problems"] = [problem.told() for problem in page.problems]
    return entry


def _relinked(markdown: str, images: Mapping[str, str]) -> str:
    """Return the page's text with the links to its images as seen from the document's folder.

    Two pages may have an image of the same name (it is made of the place on the page), so each page keeps its
    own folder.
    """
    return _LINK.sub(lambda match: match[1] + images.get(match[2], match[2]), markdown)


def _image_name(name: str, data: Kept) -> str:
    """Return an image's name from the server, if it is sure to be one and to stay in the page's folder."""
    if PurePosixPath(_safe(name)).suffix.lower() not in _IMAGE_SUFFIXES:
        raise _untrusted(name, "a name that ends in .jpg or .png")
    _image_kind(name, data)
    return name


def _picture_name(key: str, data: Kept) -> str:
    stem = "layout" if key == _LAYOUT else _safe(key)
    return f"{stem}.{_image_kind(key, data)}"


def _image_kind(name: str, data: Kept) -> str:
    """The suffix of what an image holds."""
    kind = kind_of(data.spool.read(data.start, min(data.size, 16)))
    if kind not in _IMAGE_KINDS:
        raise _untrusted(name, "the bytes of a JPEG or PNG image")
    return _IMAGE_KINDS[kind]


def _safe(name: str) -> str:
    """Return a name from the server if it is sure to stay below the page's folder."""
    path = PurePosixPath(name)
    plainly = name and name.isprintable() and not set(name) & set("\\:") and str(path) == name
    if not plainly or path.is_absolute() or any(part.startswith(".") for part in path.parts):
        raise _untrusted(name, "a plain name below the page's folder")
    return name


def _untrusted(name: str, expected: str) -> UnhealthyError:
    return UnhealthyError(
        f"the pipeline API named an image {name!r}, expected {expected}",
        hint="nothing was written; check that the URL is a pipeline API that you trust",
    )


def _ended(text: str) -> str:
    return text.rstrip("\n") + "\n" if text.strip() else ""


def _json(value: object, level: int) -> str:
    """The value as JSON that stands at some level of other JSON: its lines but the first are moved in."""
    return json.dumps(value, ensure_ascii=False, indent=1).replace("\n", "\n" + " " * level)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a new file; two of one name are an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.writelines(pieces)


def _flush(folder: Path) -> None:
    """Have all of `folder` on the disk: everything at the end, as the first flush makes the others cheap."""
    for path in folder.rglob("*"):
        if path.is_dir():
            durable.flush_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    durable.flush_folder(folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _read_record(folder: Path) -> _Record | None:
    """Return the record of a folder; None where there is none that paddock wrote."""
    try:
        found = typed(decoded((folder / RECORD).read_bytes()), dict, RECORD)
        return _Record(
            format=field(found, "format", int),
            source=field(found, "source", str),
            sha256=field(found, "sha256", str),
            result=Result(
                pages=field(found, "pages", int),
                problems=problems.read(optional(found, "problems", list) or []),
                converted_from=optional(found, "converted_from", str),
                notes=tuple(typed(note, str, "notes") for note in optional(found, "notes", list) or ()),
            ),
            options={name: typed(value, bool, name) for name, value in field(found, "options", dict).items()},
            files=tuple(typed(name, str, "files") for name in field(found, "files", list)),
        )
    except (OSError, MalformedError):
        return None
