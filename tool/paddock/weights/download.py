"""One HTTP download that survives cut connections, impatient servers and Ctrl-C. It knows nothing of weights.

A later attempt, in this process or the next, asks for the rest of a part file with `Range` and `If-Range`: a
file that has changed meanwhile comes whole again (RFC 9110, 13.1.5). The file gets its name once it is
complete and agrees with every size and hash that its source published.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from paddock import __version__, durable
from paddock.errors import PreflightError, SourceError, causes
from paddock.report import Reporter
from paddock.weights.diskspace import require_room
from paddock.weights.partfile import Note, PartFile
from paddock.weights.published import Published, verified

BLOCK = 64 * 1024  # bytes per read; what a cut can lose
WORTHWHILE = 1024 * 1024  # bytes that make an attempt count as progress
LARGEST_LISTING = 16 * 1024 * 1024  # bytes of a JSON answer
# Bytes of a file whose length nobody told: twice upstream's largest tar, PaddleOCR-VL-1.6's of 1.9 GB.
LARGEST_UNANNOUNCED = 4 * 1024**3
RETRIED = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a download waits and how often it tries again. Times are seconds."""

    connect: float = 10.0
    read: float = 60.0  # between two arrivals of data
    attempts: int = 8  # in a row without progress
    first_attempts: int = 3  # while the host has not answered once: it may not exist at all
    backoff: float = 1.0  # the first wait, doubled each time
    longest_wait: float = 60.0  # for the backoff and for what a server asks with Retry-After


class _CutShortError(Exception):
    """This attempt ended early; another one may succeed."""

    def __init__(self, reason: str, *, answered: bool = True, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.answered, self.after = reason, answered, after


def open_session(ca_bundle: str | None = None) -> requests.Session:
    """Return a session that uses the proxies of the environment; `ca_bundle` replaces the trusted roots."""
    session = requests.Session()
    session.headers["User-Agent"] = f"paddock/{__version__}"
    # Lengths and ranges must count the bytes of the file itself.
    session.headers["Accept-Encoding"] = "identity"
    if ca_bundle:
        session.verify = ca_bundle
    return session


def download(
    session: requests.Session,
    url: str,
    to: Path,
    *,
    report: Reporter,
    published: Published | None = None,
    patience: Patience | None = None,
) -> str:
    """Fetch `url` into the file `to`, continuing an earlier attempt, and return its SHA-256 in hexadecimal.

    Raises SourceError when the source does not answer, does not have it or does not keep its word,
    PreflightError when the disk is too small. After Ctrl-C the partial file stays for the next attempt.
    """
    published, patience = published or Published(), patience or Patience()
    to.parent.mkdir(parents=True, exist_ok=True)
    part = PartFile(to)
    retries = _Retries(url, patience, report)
    furthest = part.size()
    while True:
        try:
            _attempt(session, url, part, published=published, patience=patience, report=report)
            break
        except _CutShortError as cut:
            gained = part.size() - furthest
            furthest = max(furthest, part.size())
            retries.pause(cut, progress=gained >= WORTHWHILE)
    digest = _verified(part, url, published)
    part.finish()
    return digest


def read_json(
    session: requests.Session, url: str, *, report: Reporter, patience: Patience | None = None
) -> object:
    """Return the JSON document at `url`. Raises SourceError as `download` does, and when it is not JSON."""
    patience = patience or Patience()
    retries = _Retries(url, patience, report)
    while True:
        try:
            return _json_attempt(session, url, patience)
        except _CutShortError as cut:
            retries.pause(cut, progress=False)


class _Retries:
    """Counts attempts without progress and waits between them."""

    def __init__(self, url: str, patience: Patience, report: Reporter) -> None:
        self.url, self.patience, self.report = url, patience, report
        self.in_vain = 0
        self.answered = False

    def pause(self, cut: _CutShortError, *, progress: bool) -> None:
        """Wait before the next attempt, or raise SourceError when there is to be none."""
        self.answered = self.answered or cut.answered
        self.in_vain = 1 if progress else self.in_vain + 1
        allowed = self.patience.attempts if self.answered else self.patience.first_attempts
        if self.in_vain >= allowed:
            raise SourceError(f"{_where(self.url)}: {cut.reason}; gave up after {self.in_vain} attempts")
        if cut.after is not None and cut.after > self.patience.longest_wait:
            raise SourceError(f"{_where(self.url)}: {cut.reason}; asks to come back in {cut.after:.0f} s")
        doubled: float = self.patience.backoff * 2 ** (self.in_vain - 1)
        wait = min(doubled, self.patience.longest_wait) if cut.after is None else cut.after
        self.report.say(f"{_where(self.url)}: {cut.reason}; again in {wait:.0f} s")
        time.sleep(wait)


def _attempt(
    session: requests.Session,
    url: str,
    part: PartFile,
    *,
    published: Published,
    patience: Patience,
    report: Reporter,
) -> None:
    """Send one request and keep what it brings.

    Returns when `part` is complete, raises _CutShortError when the answer ended early.
    """
    note = part.resumable(url, published)
    offset = part.size() if note else 0
    if note and note.size is not None and offset == note.size:
        return
    with _answer(session, url, patience, _range_headers(note, offset)) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            part.discard()
            raise _CutShortError(f"has no bytes after the first {offset:,}; starting again")
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            total = _checked_range(response, url, part, note, offset)
        elif response.status_code == HTTPStatus.OK:
            if offset:
                report.say(
                    f"{_where(url)}: sends the whole file (changed, or it cannot resume); starting again"
                )
            offset, total = 0, _length(response, url)
            part.start(_note(response, url, total))
        else:
            raise SourceError(f"{_where(url)}: {_status(response)}, expected 200 OK or 206 Partial Content")
        total = _agreed_size(url, total, published)
        try:
            _receive(response, url, part, offset=offset, total=total, report=report)
        except _CutShortError as cut:
            raise _CutShortError(f"{cut.reason} after {_progress(part, total)}") from cut
    if total is not None and part.size() < total:
        raise _CutShortError(f"the connection was cut after {_progress(part, total)}")


def _progress(part: PartFile, total: int | None) -> str:
    return f"{part.size():,} bytes" if total is None else f"{part.size():,} of {total:,} bytes"


def _range_headers(note: Note | None, offset: int) -> dict[str, str]:
    if note is None or not offset:
        return {}
    headers = {"Range": f"bytes={offset}-"}
    if note.condition:
        headers["If-Range"] = note.condition
    return headers


@contextmanager
def _answer(
    session: requests.Session, url: str, patience: Patience, headers: Mapping[str, str]
) -> Iterator[requests.Response]:
    """Yield the answer to a GET before its body is read.

    Raises _CutShortError where waiting may help, SourceError where it will not.
    """
    try:
        response = session.get(
            url, headers=dict(headers), stream=True, timeout=(patience.connect, patience.read)
        )
    except requests.exceptions.SSLError as refused:
        raise SourceError(
            f"{_where(url)}: its certificate is not trusted ({_reason(refused)})",
            hint="at a site that inspects TLS, set CA_BUNDLE to the file of its certificates",
        ) from refused
    except (requests.ConnectionError, requests.Timeout) as silent:
        raise _CutShortError(_reason(silent), answered=False) from silent
    except requests.RequestException as wrong:
        raise SourceError(f"{_where(url)}: {wrong}") from wrong
    with response:
        if url.startswith("https:") and not response.url.startswith("https:"):
            raise SourceError(f"{_where(url)}: redirects to {_where(response.url)}, expected https")
        if response.status_code in RETRIED:
            raise _CutShortError(_status(response), after=_retry_after(response))
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            found = response.headers["Content-Encoding"]
            raise SourceError(f"{_where(url)}: found content encoding {found}, expected none")
        yield response


def _checked_range(
    response: requests.Response, url: str, part: PartFile, note: Note | None, offset: int
) -> int | None:
    """The whole length that a 206 declares, once it continues exactly what `part` holds."""
    declared = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", declared.strip())
    if note is None or match is None or int(match[1]) != offset:
        part.discard()
        raise _CutShortError(
            f"answered range {declared or 'none'}, expected it to start at {offset}; starting again"
        )
    etag = response.headers.get("ETag")
    total = None if match[3] == "*" else int(match[3])
    if (etag and note.etag and etag != note.etag) or (total and note.size and total != note.size):
        part.discard()
        raise _CutShortError("has changed since this download began; starting again")
    span, length = int(match[2]) - offset + 1, _length(response, url)
    beyond = total is not None and offset + span > total
    if span <= 0 or beyond or (length is not None and length != span):
        raise SourceError(
            f"{_where(url)}: contradicts itself: range {declared}, length {length}, from byte {offset}"
        )
    return total if total is not None else note.size


def _length(response: requests.Response, url: str) -> int | None:
    """Content-Length in bytes; None when the server gives none."""
    found = response.headers.get("Content-Length")
    if found is None or "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return None
    if not re.fullmatch(r"[0-9]+", found.strip()):
        raise SourceError(f"{_where(url)}: found Content-Length {found!r}, expected a number of bytes")
    return int(found)


def _note(response: requests.Response, url: str, total: int | None) -> Note:
    return Note(
        url=url, etag=response.headers.get("ETag"), modified=response.headers.get("Last-Modified"), size=total
    )


def _agreed_size(url: str, declared: int | None, published: Published) -> int | None:
    if declared is not None and published.size is not None and declared != published.size:
        raise SourceError(
            f"{_where(url)}: found {declared:,} bytes declared, expected {published.size:,} as published"
        )
    return declared if declared is not None else published.size


def _receive(
    response: requests.Response, url: str, part: PartFile, *, offset: int, total: int | None, report: Reporter
) -> None:
    """Append the body to the partial file, never beyond `total`, or the limit where nobody told a length."""
    most = LARGEST_UNANNOUNCED if total is None else total
    if total is not None:
        require_room(part.path.parent, total - offset, _where(url))
    held = offset
    with (
        durable.writing(part.path, raising=PreflightError),
        part.path.open("ab") as out,
        report.progress(part.label, total=total, unit="bytes", done=offset) as advance,
    ):
        for block in _blocks(response):
            held += len(block)
            if held > most:
                part.discard()
                said = "it declared" if total is not None else "are taken of a file without a length"
                raise SourceError(f"{_where(url)}: sends more than the {most:,} bytes that {said}")
            out.write(block)
            advance(len(block))
        out.flush()
        os.fsync(out.fileno())


def _blocks(response: requests.Response) -> Iterator[bytes]:
    """The body as it comes, undecoded; a cut in the middle becomes _CutShortError."""
    while True:
        try:
            block: bytes = response.raw.read(BLOCK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as cut:
            late = isinstance(cut, urllib3.exceptions.ReadTimeoutError)
            raise _CutShortError("nothing came in time" if late else "the connection was cut") from cut
        if not block:
            return
        yield block


def _json_attempt(session: requests.Session, url: str, patience: Patience) -> object:
    with _answer(session, url, patience, {"Accept": "application/json"}) as response:
        if response.status_code != HTTPStatus.OK:
            raise SourceError(f"{_where(url)}: {_status(response)}, expected 200 OK")
        body = b""
        for block in _blocks(response):
            body += block
            if len(body) > LARGEST_LISTING:
                raise SourceError(
                    f"{_where(url)}: answers more than {LARGEST_LISTING:,} bytes, expected a file list"
                )
    try:
        return json.loads(body)
    except ValueError as wrong:
        raise SourceError(f"{_where(url)}: found something that is not JSON, expected a file list") from wrong


def _verified(part: PartFile, url: str, published: Published) -> str:
    """Return the SHA-256 of the complete part file; one that is not what was published is removed."""
    try:
        return verified(part.path, published, where=_where(url))
    except SourceError:
        part.discard()
        raise


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    found = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", found):
        return float(found)
    try:
        moment = parsedate_to_datetime(found)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _status(response: requests.Response) -> str:
    return f"answered {response.status_code} {response.reason or ''}".rstrip()


def _where(url: str) -> str:
    """A URL as messages name it: without a query, which may carry signatures."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _reason(failure: BaseException) -> str:
    """Return in few words why a connection failed: the innermost system error says it best."""
    if isinstance(failure, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(failure, requests.ReadTimeout):
        return "no answer in time"
    said = [cause.strerror for cause in causes(failure) if isinstance(cause, OSError) and cause.strerror]
    return said[-1] if said else type(failure).__name__
