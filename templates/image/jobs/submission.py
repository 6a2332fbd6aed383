"""Reads what a client submits: a document, straight to the disk, and what is to be done with it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

import pageranges
import webhooks
from blobs import Blobs, Written
from door import BODY_GRACE, BODY_IDLE, BODY_RATE, Receive
from limits import Refusal
from links import Allowed

MOST_FIELD = 65_536  # bytes of a field that is no document
MOST_FIELDS = 16
MOST_NAME = 200  # characters
MOST_JSON = 200_000  # bytes of a submission by link
PRIORITIES = {"low": "-10 min", "normal": "0", "high": "10 min"}  # head starts in the queue
FIELDS = ("model", "optionalPayload", "pageRanges", "batchId", "priority", "webhookUrl", "fileUrl")
NOT_OPTIONS = ("file", "fileType", "logId")  # of a request to the pipeline API; they are ours here
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PDF_WITHIN = 1024  # bytes; what readers of PDF tolerate before "%PDF-"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be done with a document."""

    model: str
    name: str
    options: dict[str, Any]
    page_ranges: str
    batch: str | None
    priority: str
    hook_url: str | None

    def sha256(self, document: bytes) -> bytes:
        """Of all of this and the document's hash: equal for a repeated submission only."""
        whole = json.dumps(asdict(self), sort_keys=True).encode()
        return hashlib.sha256(document + whole).digest()


def asked(fields: Mapping[str, Any], name: str, *, models: tuple[str, ...], hooks: Allowed) -> Asked:
    """From the fields of a submission; raises Refusal for what cannot be meant."""
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise Refusal(400, f"found the field {unknown[0][:80]!r}, expected only file, {', '.join(FIELDS)}")
    model = _text(fields, "model")
    if not model:
        raise Refusal(400, f"model: is missing; {', '.join(models)} is served here")
    if model.lower() not in (known.lower() for known in models):
        raise Refusal(400, f"model: found {model[:80]!r}; {', '.join(models)} is served here")
    ranges = _text(fields, "pageRanges")
    try:
        pageranges.read(ranges)
    except pageranges.WrongRanges as wrong:
        raise Refusal(400, str(wrong)) from wrong
    priority = _text(fields, "priority") or "normal"
    if priority not in PRIORITIES:
        raise Refusal(400, f"priority: found {priority[:40]!r}, expected {', '.join(PRIORITIES)}")
    hook = _text(fields, "webhookUrl") or None
    if hook is not None:
        webhooks.require(hook, hooks)
    return Asked(
        model=model,
        name=(name or "document")[:MOST_NAME],
        options=_options(fields.get("optionalPayload")),
        page_ranges=ranges,
        batch=_text(fields, "batchId") or None,
        priority=priority,
        hook_url=hook,
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise Refusal(400, f"{name}: expected a text")
    if name in ("model", "batchId") and (len(value) > MOST_NAME or not value.isprintable()):
        raise Refusal(400, f"{name}: expected at most {MOST_NAME} printable characters")
    return value.strip()


def _options(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else {}
        except (ValueError, RecursionError) as wrong:
            raise Refusal(400, f"optionalPayload: is not JSON ({wrong or 'nested too deeply'})") from wrong
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Refusal(400, "optionalPayload: expected an object with options of /layout-parsing")
    for name in NOT_OPTIONS:
        if name in given:
            raise Refusal(400, f"optionalPayload: {name} is no option here")
    text = json.dumps(given)
    if "\\u0000" in text or "NaN" in text or "Infinity" in text:
        raise Refusal(400, "optionalPayload: found NUL, NaN or Infinity, which are not stored")
    return given


def require_document(start: bytes, size: int) -> None:
    """Refuse what is neither PDF, PNG, JPEG nor TIFF, by its first bytes."""
    if not size:
        raise Refusal(400, "file: is empty, expected a document")
    if not start.startswith(STARTS) and b"%PDF-" not in start:
        raise Refusal(
            400, f"file: found a file that begins with {start[:8].hex(' ')}, expected a PDF, PNG, JPEG or TIFF"
        )


@contextlib.asynccontextmanager
async def stored(blobs: Blobs, key: str) -> AsyncIterator[Written]:
    """`Blobs.writing`, with what waits for the disk in a thread."""
    writing = blobs.writing(key)
    file = await asyncio.to_thread(writing.__enter__)
    try:
        yield file
    except BaseException as wrong:
        writing.__exit__(type(wrong), wrong, wrong.__traceback__)
        raise
    await asyncio.to_thread(writing.__exit__, None, None, None)


async def pieces(receive: Receive, most: int, too_large: str) -> AsyncIterator[bytes]:
    """The body of a request, which must come in time and have at most `most` bytes."""
    clock = asyncio.get_running_loop().time
    size, begun, more = 0, clock(), True
    while more:
        try:
            message = await asyncio.wait_for(receive(), BODY_IDLE)
        except TimeoutError:
            raise Refusal(408, f"no byte of the body came for {BODY_IDLE:.0f} s") from None
        if message["type"] == "http.disconnect":
            raise Refusal(499, "the client went away")
        piece, more = message.get("body", b""), message.get("more_body", False)
        size += len(piece)
        if size > most:
            raise Refusal(413, too_large)
        late = clock() - begun - BODY_GRACE
        if more and late > 0 and size < late * BODY_RATE:
            raise Refusal(408, f"the body comes at less than {BODY_RATE} bytes a second")
        yield piece


class Form:
    """multipart/form-data while it arrives: the part `file` goes to the disk, the others are kept."""

    def __init__(self, content_type: str, file: Written, most: int) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise Refusal(400, "found multipart/form-data without a boundary")
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None  # of the document; None: none was sent
        self.start = bytearray()  # first bytes of the document
        self._file = file
        self._most = most
        self._name = ""
        self._value = bytearray()
        self._header = bytearray()
        self._content = bytearray()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begins,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._content.extend(data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._ends,
                "on_end": self._all_ended,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Take some more of the body; raises Refusal."""
        try:
            self._parser.write(piece)
        except (MultipartParseError, FormParserError) as wrong:
            raise Refusal(400, f"the body is not multipart/form-data ({wrong})") from wrong

    def finish(self) -> None:
        """Raises Refusal for a form that is not whole, or has no document."""
        if not self._ended:
            raise Refusal(400, "the body ends in the middle of multipart/form-data")
        if self.file_name is None:
            raise Refusal(400, "found no part `file`, expected the document in it, or JSON with fileUrl")

    def _begins(self) -> None:
        self._disposition = b""
        self._value.clear()

    def _header_ends(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._content)
        self._header.clear()
        self._content.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == "file":
            if self.file_name is not None:
                raise Refusal(400, "found two parts `file`, expected one document a job")
            name = options.get(b"filename", b"").decode("utf-8", "replace")
            self.file_name = "".join(letter for letter in name if letter.isprintable())
        elif len(self.fields) >= MOST_FIELDS or self._name in self.fields:
            raise Refusal(400, f"found too many fields, or {self._name[:80]!r} twice")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            if self._file.size + end - start > self._most:
                raise Refusal(413, too_large(self._most))
            if len(self.start) < PDF_WITHIN + 5:
                self.start += data[start : min(end, start + PDF_WITHIN + 5)]
            self._file.write(memoryview(data)[start:end])
            return
        if len(self._value) + end - start > MOST_FIELD:
            raise Refusal(413, f"{self._name[:80]}: found more than {MOST_FIELD} bytes")
        self._value += data[start:end]

    def _ends(self) -> None:
        if self._name != "file":
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _all_ended(self) -> None:
        self._ended = True


def too_large(most: int) -> str:
    return f"file: found more than {most} bytes (API_MAX_BYTES)"
