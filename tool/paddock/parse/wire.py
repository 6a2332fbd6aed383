"""The pipeline API on the wire: the body of a request, and the strict reading of an answer (PaddleX 3.7).

An answer is read while it arrives and goes to a spool, so that memory holds one page's text at a time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paddock.errors import UnhealthyError, UsageError
from paddock.jsonvalues import MalformedError, decoded, typed
from paddock.parse import problems
from paddock.parse.document import Document, Kind
from paddock.parse.jsonstream import Budget, JsonStream
from paddock.parse.problems import Problem
from paddock.parse.spool import Kept, Spool
from paddock.report import clipped

_CHUNK = 3 * 256 * 1024  # bytes read at a time; a multiple of 3 needs no base64 padding

# What an answer may have. A page of A4 at 200 dpi comes with about 2 MB of pictures and 40 kB of text.
LARGEST_ANSWER = 64 << 20  # bytes, and for each page of the document:
LARGEST_PAGE = 16 << 20
MOST_TEXT = 2 << 20  # bytes of JSON of one page without its pictures
MOST_VALUES = 100_000  # of one page
MOST_IMAGES = 1000  # of one page
_LONGEST_MESSAGE = 500  # characters of what a server says that are shown

_LIMIT_HINT = (
    "this API keeps only the first pages of a document (PaddleX's default is 10): set "
    "Serving.extra.max_num_input_imgs to null in its pipeline configuration, as paddock's own stacks do"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParseOptions:
    """What is asked of the API besides the document, and how its Markdown is kept."""

    pictures: bool = True  # a layout picture per page (`visualize`)
    restructure: bool = False  # join tables across pages and level titles (`restructurePages`)
    plain: bool = False  # Markdown without HTML

    def fields(self) -> dict[str, bool]:
        """The request's fields, named as the API names them."""
        return {"visualize": self.pictures, "restructurePages": self.restructure}

    def recorded(self) -> dict[str, bool]:
        """What a result depends on."""
        return self.fields() | ({"plainMarkdown": True} if self.plain else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of the answer, in the spool.

    `images` are named as the Markdown refers to them (`imgs/img_in_image_box_40_792_360_1045.jpg`),
    `pictures` as the API names them (`layout_det_res`); both hold encoded image files. `problems` are what
    the API says of it, or what it shows where the API does not judge its pages.
    """

    text: Kept
    images: Mapping[str, Kept]
    pictures: Mapping[str, Kept]
    pruned: Kept
    problems: tuple[Problem, ...] = ()

    @property
    def markdown(self) -> str:
        return self.text.read().decode()

    @property
    def result(self) -> dict[str, Any]:
        """`prunedResult` as it came."""
        return typed(decoded(self.pruned.read()), dict, "prunedResult")


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedDocument:
    """The whole answer: every page in order.

    `sha256` is of the bytes that were sent; `info` is `dataInfo` as it came; `problems` are those of all
    pages and of the whole.
    """

    sha256: str
    pages: tuple[Page, ...]
    info: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()


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


def read_envelope(content: bytes) -> Envelope | None:
    """Return what an answer without a result holds; None where it is not JSON or not an object."""
    try:
        answer = typed(decoded(content), dict, "the answer")
    except MalformedError:
        return None
    return _envelope(answer.get("errorCode"), answer.get("errorMsg"))


def _envelope(code: object, message: object) -> Envelope:
    return Envelope(
        error_code=code if isinstance(code, int) else None,
        message=clipped(_in_words(message), _LONGEST_MESSAGE) if isinstance(message, str) else "",
    )


def _in_words(message: str) -> str:
    """`errorMsg` for people: for a request that does not fit the schema it is a JSON list of errors."""
    try:
        errors: Any = decoded(message)
        return "; ".join(f"{error['loc']}: {error['msg']}" for error in errors)
    except (MalformedError, TypeError, KeyError):
        return message


class AnswerReader:
    """Reads the answer to `document` from `receive` into `spool`.

    `judged` says that the API has judged its pages: one of which it says nothing is good.
    """

    def __init__(
        self, receive: Callable[[int], bytes], document: Document, spool: Spool, *, judged: bool
    ) -> None:
        self._stream = JsonStream(receive)
        self._document, self._spool, self._judged = document, spool, judged
        self._pages: list[Page] = []
        self._info: Mapping[str, Any] | None = None
        self._found_result = "NoneType"
        self._budget = _budget()  # for all that is not of a page

    def envelope(self) -> Envelope | None:
        """Read all of the answer and return what it says beside its result; None where it is no JSON object.

        Raises MalformedError where its result is not what the schema says.
        """
        if self._stream.kind() != "dict":
            return None
        said: dict[str, object] = {}
        for name in self._stream.members(self._budget):
            if name in ("errorCode", "errorMsg"):
                said[name] = self._stream.value(self._budget)
            elif name == "result":
                self._found_result = self._stream.kind()
                self._read_result()
            else:
                self._stream.skip(self._budget)
        return _envelope(said.get("errorCode"), said.get("errorMsg"))

    def parsed(self, sha256: str, *, url: str) -> ParsedDocument:
        """Return what was read; `sha256` is of the bytes that were sent.

        Raises MalformedError when there was no result, UnhealthyError when pages are missing.
        """
        if self._found_result != "dict":
            raise MalformedError(f"result: found {self._found_result}, expected dict")
        if self._info is None:
            raise MalformedError("dataInfo: found NoneType, expected dict")
        counted = self._info.get("numPages")
        expected = max(self._document.pages, counted if isinstance(counted, int) else 1)
        if len(self._pages) < expected:
            raise UnhealthyError(
                f"{self._document.name}: pages are missing in the answer of {url}: "
                f"found {len(self._pages)}, expected {expected}",
                hint=_LIMIT_HINT,
            )
        found = [problem for page in self._pages for problem in page.problems]
        if len(self._pages) > self._document.pages:
            found.append(problems.surplus(len(self._pages), self._document.pages))
        return ParsedDocument(sha256=sha256, pages=tuple(self._pages), info=self._info, problems=tuple(found))

    def _read_result(self) -> None:
        if self._found_result != "dict":
            self._stream.skip(self._budget)
            return
        for name in self._stream.members(self._budget):
            if name == "layoutParsingResults":
                self._require(name, "list")
                for _ in self._stream.elements():
                    self._read_page(len(self._pages) + 1)
            elif name == "dataInfo":
                self._info = typed(self._stream.value(self._budget), dict, name)
            else:
                self._stream.skip(self._budget)

    def _require(self, where: str, kind: str) -> None:
        """Raise MalformedError unless the next value is a `kind`."""
        if self._stream.kind() != kind:
            raise MalformedError(f"{where}: found {self._stream.kind()}, expected {kind}")

    def _read_page(self, number: int) -> None:
        """Read a page's entry; what is shown of it again (`inputImage`) is passed over."""
        if number > 2 * self._document.pages + 10:  # damaged PDFs are counted differently, but not so much
            raise MalformedError(f"found more than {number - 1} pages, expected {self._document.pages}")
        self._require("an entry of layoutParsingResults", "dict")
        where, budget = f"page {number}", _budget()
        images: Mapping[str, Kept] = {}
        pictures: Mapping[str, Kept] = {}
        text = pruned = None
        told: tuple[Problem, ...] = ()
        for name in self._stream.members(budget):
            if name == "markdown":
                text, images = self._read_markdown(where, budget)
            elif name == "outputImages":
                pictures = self._read_images(f"{where}: {name}", budget)
            elif name == "prunedResult":
                raw = self._stream.raw(budget)
                typed(decoded(raw), dict, name)
                pruned = self._spool.keep(raw)
            elif name == "problems" and self._stream.kind() != "NoneType":
                told = problems.read(self._stream.value(budget), number)
            else:
                self._stream.skip(budget)
        if text is None or pruned is None:
            missing = "markdown" if text is None else "prunedResult"
            raise MalformedError(f"{missing}: found NoneType, expected dict")
        if not (told or self._judged):
            told = tuple(problems.judged(text.read().decode(), images=bool(images), page=number))
        self._pages.append(Page(text=text, images=images, pictures=pictures, pruned=pruned, problems=told))

    def _read_markdown(self, where: str, budget: Budget) -> tuple[Kept, Mapping[str, Kept]]:
        text: Kept | None = None
        images: Mapping[str, Kept] = {}
        self._require("markdown", "dict")
        for name in self._stream.members(budget):
            if name == "text":
                written = typed(self._stream.value(budget), str, name)
                text = self._spool.keep(written.encode("utf-8", "replace"))
            elif name == "images":
                images = self._read_images(f"{where}: {name}", budget)
            else:
                self._stream.skip(budget)
        if text is None:
            raise MalformedError("text: found NoneType, expected str")
        return text, images

    def _read_images(self, where: str, budget: Budget) -> dict[str, Kept]:
        images: dict[str, Kept] = {}
        if self._stream.kind() == "NoneType":
            self._stream.skip(budget)
            return images
        self._require(where, "dict")
        for name in self._stream.members(budget):
            if len(images) == MOST_IMAGES or name in images:
                raise MalformedError(f"{where}: found {name!r} twice, or more than {MOST_IMAGES}")
            start = self._spool.size
            try:
                self._stream.base64(self._spool.write)
            except MalformedError as malformed:
                raise MalformedError(f"{where} {name!r}: {malformed}") from malformed
            images[name] = self._spool.since(start)
        return images


def _budget() -> Budget:
    return Budget(size=MOST_TEXT, values=MOST_VALUES)
