"""One HTTP download that survives cut connections, impatient servers and Ctrl-C. It knows nothing about
weights.

While it comes, a file is called `<name>.part`; `<name>.part.json` keeps what the server said about it (ETag,
Last-Modified, length). A later attempt, in this process or the next, asks for the rest with `Range` and
`If-Range`: a file that has changed meanwhile comes whole again (RFC 9110, 13.1.5). The file gets its name
once it is complete and agrees with every size and hash that its source published.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from paddock import __version__
from paddock.errors import PreflightError, SourceError
from paddock.report import Reporter

BLOCK = 64 * 1024  # bytes per read; what a cut can lose
WORTHWHILE = 1024 * 1024  # bytes that make an attempt count as progress
LARGEST_LISTING = 16 * 1024 * 1024  # bytes of a JSON answer
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What the source says a file is, apart from the answer that carries it."""

    size: int | None = None  # bytes
    sha256: str | None = None
    git_blob: str | None = None  # git's SHA-1 name of the content, for files outside Git LFS

    @property
    def hashed(self) -> bool:
        """Whether wrong content would be noticed."""
        return self.sha256 is not None or self.git_blob is not None


class _Again(Exception):  # noqa: N818 - not an error that leaves this module
    """This attempt ended early; another one may do."""

    def __init__(self, reason: str, *, answered: bool = True, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.answered, self.after = reason, answered, after


def open_session(ca_bundle: str | None = None) -> requests.Session:
    """A session that honours the proxy variables of the environment; `ca_bundle` replaces the trusted roots."""
    session = requests.Session()
    session.headers["User-Agent"] = f"paddock/{__version__}"
    session.headers["Accept-Encoding"] = (
        "identity"  # lengths and ranges must count the bytes of the file itself
    )
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
    part = _Part(to)
    retries = _Retries(url, patience, report)
    furthest = part.size()
    while True:
        try:
            _attempt(session, url, part, published=published, patience=patience, report=report)
            break
        except _Again as cut:
            gained = part.size() - furthest
            furthest = max(furthest, part.size())
            retries.pause(cut, progress=gained >= WORTHWHILE)
    digest = _verified(part, url, published)
    part.finish(to)
    return digest


def read_json(
    session: requests.Session, url: str, *, report: Reporter, patience: Patience | None = None
) -> object:
    """The JSON document at `url`. Raises SourceError as `download` does, and when it is not JSON."""
    patience = patience or Patience()
    retries = _Retries(url, patience, report)
    while True:
        try:
            return _json_attempt(session, url, patience)
        except _Again as cut:
            retries.pause(cut, progress=False)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def matches(path: Path, published: Published) -> bool:
    """Whether a file has the published size and hash; False where no hash was published."""
    try:
        _compare(path, "", published)
    except SourceError:
        return False
    return published.hashed


def require_space(directory: Path, size: int, what: str) -> None:
    """Raise PreflightError unless `directory`'s disk has `size` free bytes for `what`."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise PreflightError(
            f"{directory}: not enough free disk for {what}, found {free:,} bytes and expected {size:,}",
            hint="free some space, or choose another directory with --to or MODELS_DIR",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Said:
    """What a server said about the file whose beginning is in `.part`."""

    url: str
    etag: str | None
    modified: str | None
    size: int | None

    @property
    def condition(self) -> str | None:
        """The value for If-Range: a strong ETag, else the date."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified


class _Part:
    """The partial file of a download and the note beside it."""

    def __init__(self, to: Path) -> None:
        self.path = to.with_name(to.name + ".part")
        self.note = to.with_name(to.name + ".part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def said(self) -> _Said | None:
        """The note; None when there is none or it is not ours."""
        try:
            found = json.loads(self.note.read_bytes())
            return _Said(url=found["url"], etag=found["etag"], modified=found["modified"], size=found["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def start(self, said: _Said) -> None:
        """Begin at zero: first an empty file, then the note, so that a note never describes older bytes."""
        self.path.write_bytes(b"")
        fresh = self.note.with_name(self.note.name + ".new")
        fresh.write_text(json.dumps(asdict(said), indent=2) + "\n", encoding="utf-8")
        fresh.replace(self.note)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self, to: Path) -> None:
        self.path.replace(to)
        self.note.unlink(missing_ok=True)


class _Retries:
    """Counts attempts without progress and waits between them."""

    def __init__(self, url: str, patience: Patience, report: Reporter) -> None:
        self.url, self.patience, self.report = url, patience, report
        self.in_vain = 0
        self.answered = False

    def pause(self, cut: _Again, *, progress: bool) -> None:
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
    part: _Part,
    *,
    published: Published,
    patience: Patience,
    report: Reporter,
) -> None:
    """One request and what it brings. Returns when `part` is complete, raises _Again when it ended early."""
    said = _resumable(part, url, published)
    offset = part.size() if said else 0
    if said and said.size is not None and offset == said.size:
        return
    with _answer(session, url, patience, _range_headers(said, offset)) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            part.discard()
            raise _Again(f"has no bytes after the first {offset:,}; starting again")
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            total = _checked_range(response, url, part, said, offset)
        elif response.status_code == HTTPStatus.OK:
            if offset:
                report.say(
                    f"{_where(url)}: sends the whole file (changed, or it cannot resume); starting again"
                )
            offset, total = 0, _length(response, url)
            part.start(_said(response, url, total))
        else:
            raise SourceError(f"{_where(url)}: {_status(response)}, expected 200 OK or 206 Partial Content")
        total = _agreed_size(url, total, published)
        try:
            _receive(response, url, part, offset=offset, total=total, report=report)
        except _Again as cut:
            raise _Again(f"{cut.reason} after {_progress(part, total)}") from cut
    if total is not None and part.size() < total:
        raise _Again(f"the connection was cut after {_progress(part, total)}")


def _progress(part: _Part, total: int | None) -> str:
    return f"{part.size():,} bytes" if total is None else f"{part.size():,} of {total:,} bytes"


def _resumable(part: _Part, url: str, published: Published) -> _Said | None:
    """The note of a partial file that can be continued; otherwise both are removed."""
    said = part.said()
    fits = (
        said is not None
        and said.url == url
        and part.size() > 0
        and (said.condition is not None or published.hashed)  # else a change would go unnoticed
        and (said.size is None or part.size() <= said.size)
        and (said.size is None or published.size is None or said.size == published.size)
    )
    if fits:
        return said
    part.discard()
    return None


def _range_headers(said: _Said | None, offset: int) -> dict[str, str]:
    if said is None or not offset:
        return {}
    headers = {"Range": f"bytes={offset}-"}
    if said.condition:
        headers["If-Range"] = said.condition
    return headers


@contextmanager
def _answer(
    session: requests.Session, url: str, patience: Patience, headers: Mapping[str, str]
) -> Iterator[requests.Response]:
    """The answer to a GET, its body not read yet. Raises _Again where waiting may help, SourceError where
    not.
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
        raise _Again(_reason(silent), answered=False) from silent
    except requests.RequestException as wrong:
        raise SourceError(f"{_where(url)}: {wrong}") from wrong
    with response:
        if url.startswith("https:") and not response.url.startswith("https:"):
            raise SourceError(f"{_where(url)}: redirects to {_where(response.url)}, expected https")
        if response.status_code in RETRIED:
            raise _Again(_status(response), after=_retry_after(response))
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            found = response.headers["Content-Encoding"]
            raise SourceError(f"{_where(url)}: found content encoding {found}, expected none")
        yield response


def _checked_range(
    response: requests.Response, url: str, part: _Part, said: _Said | None, offset: int
) -> int | None:
    """The whole length that a 206 declares, once it continues exactly what `part` holds."""
    found = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", found.strip())
    if said is None or match is None or int(match[1]) != offset:
        part.discard()
        raise _Again(f"answered range {found or 'none'}, expected it to start at {offset}; starting again")
    etag = response.headers.get("ETag")
    total = None if match[3] == "*" else int(match[3])
    if (etag and said.etag and etag != said.etag) or (total and said.size and total != said.size):
        part.discard()
        raise _Again("has changed since this download began; starting again")
    span = int(match[2]) - offset + 1
    length = _length(response, url)
    if span <= 0 or (total is not None and offset + span > total) or (length is not None and length != span):
        raise SourceError(
            f"{_where(url)}: contradicts itself: range {found}, length {length}, from byte {offset}"
        )
    return total if total is not None else said.size


def _length(response: requests.Response, url: str) -> int | None:
    """Content-Length in bytes; None when the server gives none."""
    found = response.headers.get("Content-Length")
    if found is None or "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return None
    if not re.fullmatch(r"[0-9]+", found.strip()):
        raise SourceError(f"{_where(url)}: found Content-Length {found!r}, expected a number of bytes")
    return int(found)


def _said(response: requests.Response, url: str, total: int | None) -> _Said:
    return _Said(
        url=url, etag=response.headers.get("ETag"), modified=response.headers.get("Last-Modified"), size=total
    )


def _agreed_size(url: str, declared: int | None, published: Published) -> int | None:
    if declared is not None and published.size is not None and declared != published.size:
        raise SourceError(
            f"{_where(url)}: found {declared:,} bytes declared, expected {published.size:,} as published"
        )
    return declared if declared is not None else published.size


def _receive(
    response: requests.Response, url: str, part: _Part, *, offset: int, total: int | None, report: Reporter
) -> None:
    """Append the body to the partial file, never beyond `total`."""
    if total is not None:
        require_space(part.path.parent, total - offset, _where(url))
    label = part.path.name.removesuffix(".part")
    held = offset
    with (
        full_disk_named(part.path),
        part.path.open("ab") as out,
        report.progress(label, total=total, unit="bytes", done=offset) as advance,
    ):
        for block in _blocks(response):
            held += len(block)
            if total is not None and held > total:
                part.discard()
                raise SourceError(f"{_where(url)}: sends more than the {total:,} bytes that it declared")
            out.write(block)
            advance(len(block))
        out.flush()
        os.fsync(out.fileno())


def _blocks(response: requests.Response) -> Iterator[bytes]:
    """The body as it comes, undecoded; a cut in the middle becomes _Again."""
    while True:
        try:
            block: bytes = response.raw.read(BLOCK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as cut:
            late = isinstance(cut, urllib3.exceptions.ReadTimeoutError)
            raise _Again("nothing came in time" if late else "the connection was cut") from cut
        if not block:
            return
        yield block


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn the system's "no space left" about `path` into PreflightError."""
    try:
        yield
    except OSError as failed:
        if failed.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "free some space and run the same command: it continues where this stopped"
        raise PreflightError(f"{path}: the disk is full", hint=hint) from failed


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


def _verified(part: _Part, url: str, published: Published) -> str:
    """SHA-256 of the complete partial file; a file that is not what was published is removed."""
    try:
        return _compare(part.path, url, published)
    except SourceError:
        part.discard()
        raise


def _compare(path: Path, url: str, published: Published) -> str:
    size = path.stat().st_size
    if published.size is not None and size != published.size:
        raise SourceError(f"{_where(url)}: found {size:,} bytes, expected {published.size:,} as published")
    digest = sha256_of(path)
    if published.sha256 is not None and digest != published.sha256.lower():
        raise SourceError(f"{_where(url)}: found SHA-256 {digest}, expected {published.sha256} as published")
    if published.git_blob is not None and (found := _git_blob(path, size)) != published.git_blob:
        raise SourceError(
            f"{_where(url)}: found git blob {found}, expected {published.git_blob} as published"
        )
    return digest


def _git_blob(path: Path, size: int) -> str:
    """The name that git gives to a file's content (git-hash-object)."""
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


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
    """Why a connection failed, in few words: the innermost system error says it best."""
    if isinstance(failure, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(failure, requests.ReadTimeout):
        return "no answer in time"
    inner: BaseException | None = failure
    best = type(failure).__name__
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            best = inner.strerror
        inner = inner.__cause__ or inner.__context__
    return best
