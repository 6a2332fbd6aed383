"""The pipeline API on the wire: the body of a request, and the strict reading of an answer (PaddleX 3.7)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paddock.errors import UnhealthyError, UsageError
from paddock.jsonvalues import MalformedError, field, optional, typed
from paddock.parse.document import Document, Kind

_CHUNK = 3 * 256 * 1024  # bytes read at a time; a multiple of 3 needs no base64 padding

_LIMIT_HINT = (
    "this API keeps only the first pages of a document (PaddleX's default is 10): set "
    "Serving.extra.max_num_input_imgs to null in its pipeline configuration, as paddock's own stacks do"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParseOptions:
    """What is asked of the API besides the document."""

    pictures: bool = True  # a layout picture per page (`visualize`)
    restructure: bool = False  # join tables across pages and level titles (`restructurePages`)

    def fields(self) -> dict[str, bool]:
        """The request's fields, named as the API names them."""
        return {"visualize": self.pictures, "restructurePages": self.restructure}


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of the answer.

    `images` are named as the Markdown refers to them (`imgs/img_in_image_box_40_792_360_1045.jpg`),
    `pictures` as the API names them (`layout_det_res`); both hold encoded image files. `result` is
    `prunedResult` as it came.
    """

    markdown: str
    images: Mapping[str, bytes]
    pictures: Mapping[str, bytes]
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedDocument:
    """The whole answer: every page in order.

    `sha256` is of the bytes that were sent; `info` is `dataInfo` as it came.
    """

    sha256: str
    pages: tuple[Page, ...]
    info: Mapping[str, Any]


class Body:
    """The JSON of one request, made while it is sent: the file is read and encoded chunk by chunk.

    It has a length, so it goes out with Content-Length and not in HTTP chunks. `sha256` is set once all of it
    was sent.
    """

    def __init__(self, document: Document, options: ParseOptions) -> None:
        self._document = document
        fields = {"fileType": 0 if document.kind is Kind.PDF else 1, **options.fields()}
        self._head = f'{json.dumps(fields)[:-1]}, "file": "'.encode()
        self.sha256 = ""

    def __len__(self) -> int:
        return len(self._head) + 4 * ((self._document.size + 2) // 3) + len(b'"}')

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks():
            digest.update(chunk)
            size += len(chunk)
            if size > self._document.size:
                raise self._changed()
            yield base64.b64encode(chunk)
        if size != self._document.size:
            raise self._changed()
        self.sha256 = digest.hexdigest()
        yield b'"}'

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self._document.open() as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as failure:
            raise UsageError(f"{self._document.name}: cannot be read: {failure.strerror}") from failure

    def _changed(self) -> UsageError:
        return UsageError(
            f"{self._document.name}: changed while it was sent, expected {self._document.size} bytes"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """What every answer of the API holds; `message` is empty where it says nothing."""

    error_code: int | None
    message: str
    result: object


def read_envelope(content: bytes) -> Envelope | None:
    """Return what an answer holds; None where it is not JSON or not an object."""
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    code, message = answer.get("errorCode"), answer.get("errorMsg")
    return Envelope(
        error_code=code if isinstance(code, int) else None,
        message=_in_words(message) if isinstance(message, str) else "",
        result=answer.get("result"),
    )


def _in_words(message: str) -> str:
    """`errorMsg` for people: for a request that does not fit the schema it is a JSON list of errors."""
    try:
        errors = json.loads(message)
        return "; ".join(f"{error['loc']}: {error['msg']}" for error in errors)
    except (ValueError, TypeError, KeyError):
        return message.strip()


def read_result(url: str, document: Document, sha256: str, result: object) -> ParsedDocument:
    """Read the result of a parse; `sha256` is of the bytes that were sent.

    Raises UnhealthyError when it is not what the schema says, or when pages are missing.
    """
    try:
        found = typed(result, dict, "result")
        info = field(found, "dataInfo", dict)
        pages = tuple(_read_page(page, f"page {number}") for number, page in enumerate(_entries(found), 1))
    except MalformedError as malformed:
        raise UnhealthyError(
            f"{url}: the answer for {document.name} is not that of a pipeline API: {malformed}",
            hint="paddock speaks the API of PaddleX 3.7 (`/layout-parsing`)",
        ) from malformed
    counted = info.get("numPages")
    expected = max(document.pages, counted if isinstance(counted, int) else 1)
    if len(pages) < expected:
        raise UnhealthyError(
            f"{document.name}: pages are missing in the answer of {url}: "
            f"found {len(pages)}, expected {expected}",
            hint=_LIMIT_HINT,
        )
    return ParsedDocument(sha256=sha256, pages=pages, info=info)


def _entries(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each page's entry, taken out of the answer so that its base64 is freed once it is decoded."""
    entries = field(result, "layoutParsingResults", list)
    entries.reverse()
    while entries:
        entry = typed(entries.pop(), dict, "an entry of layoutParsingResults")
        entry.pop("inputImage", None)
        yield entry


def _read_page(entry: dict[str, Any], where: str) -> Page:
    markdown = field(entry, "markdown", dict)
    return Page(
        markdown=field(markdown, "text", str),
        images=_decoded(markdown, "images", where),
        pictures=_decoded(entry, "outputImages", where),
        result=field(entry, "prunedResult", dict),
    )


def _decoded(holder: dict[str, Any], key: str, where: str) -> dict[str, bytes]:
    images = optional(holder, key, dict) or {}
    return {name: _image(images.pop(name), f"{where}: {key} {name!r}") for name in list(images)}


def _image(value: object, where: str) -> bytes:
    if not isinstance(value, str):
        raise MalformedError(f"{where}: found {type(value).__name__}, expected base64")
    if value.startswith(("http://", "https://")):
        raise MalformedError(
            f"{where}: found a link, expected base64: set Serving.return_urls to false in the API"
        )
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as wrong:
        raise MalformedError(f"{where}: {wrong}") from wrong
