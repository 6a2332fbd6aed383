"""HTTP client of one pipeline API (PaddleX serving): `GET /health` and `POST /layout-parsing`.

Request and answer are those of PaddleX 3.7 (`inference/serving/schemas/paddleocr_vl.py`): base64 in JSON both ways.
Knows nothing of folders and batches: `paddock.parse` does. A client may be used by many threads at once, and `abort`
ends what they are waiting for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import json
import re
import socket
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from paddock import readiness
from paddock.document import Document, Kind
from paddock.errors import Interrupted, PaddockError, UnhealthyError, UnreachableError, UsageError

DEFAULT_TIMEOUT = 600.0  # seconds for one document; the API sends nothing before all pages are done
CONNECT_TIMEOUT = 10.0
HEALTH_TIMEOUT = 5.0
RESENDS = 2  # a document whose connection broke is sent this many times more
PATIENCE = 30.0  # seconds that an API which broke off has to come back: a container restarts in less
PAUSE = 1.0

_CHUNK = 3 * 256 * 1024  # bytes read at a time; a multiple of 3 needs no base64 padding
_TRANSIENT = frozenset({429, 502, 503, 504})  # what a balancer says while its API restarts
_START_HINT = "start a stack with `paddock up`, or name another pipeline API with --url or PADDOCK_URL"
_LOOK_HINT = "`paddock status` shows which part is down, `paddock logs` says why; then run the same command again"
_LIMIT_HINT = (
    "this API keeps only the first pages of a document (PaddleX's default is 10): set Serving.extra.max_num_input_imgs "
    "to null in its pipeline configuration, as paddock's own stacks do"
)
_VLM_SIGNS = re.compile(r"connection error|connect|timed out|worker: request|chat/completions|'vlm' worker", re.I)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParseOptions:
    """What is asked of the API beside the document."""

    pictures: bool = True  # a layout picture per page (`visualize`)
    restructure: bool = False  # join tables across pages and level titles (`restructurePages`)

    def fields(self) -> dict[str, bool]:
        """The request's fields, named as the API names them."""
        return {"visualize": self.pictures, "restructurePages": self.restructure}


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of the answer.

    `images` are named as the Markdown refers to them (`imgs/img_in_image_box_40_792_360_1045.jpg`), `pictures` as the
    API names them (`layout_det_res`); both hold encoded image files. `result` is `prunedResult` as it came.
    """

    markdown: str
    images: Mapping[str, bytes]
    pictures: Mapping[str, bytes]
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedDocument:
    """The whole answer: every page in order. `sha256` is of the bytes that were sent; `info` is `dataInfo`."""

    sha256: str
    pages: tuple[Page, ...]
    info: Mapping[str, Any]


class _LostError(Exception):
    """An attempt that another attempt may mend. `error` is what to raise when there is none."""

    def __init__(self, error: UnhealthyError) -> None:
        super().__init__(error.message)
        self.error = error


class _Body:
    """The JSON of one request, made while it is sent: the file is read and encoded piece by piece.

    Having a length, it goes out with Content-Length, not chunked. `sha256` is set once all was sent.
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
        for piece in self._pieces():
            digest.update(piece)
            size += len(piece)
            if size > self._document.size:
                raise self._changed()
            yield base64.b64encode(piece)
        if size != self._document.size:
            raise self._changed()
        self.sha256 = digest.hexdigest()
        yield b'"}'

    def _pieces(self) -> Iterator[bytes]:
        try:
            with self._document.open() as file:
                while piece := file.read(_CHUNK):
                    yield piece
        except OSError as failure:
            raise UsageError(f"{self._document.name}: cannot be read: {failure.strerror}") from failure

    def _changed(self) -> UsageError:
        return UsageError(f"{self._document.name}: changed while it was sent, expected {self._document.size} bytes")


class _Sockets:
    """The open connections of a client, so that `abort` can end a wait in another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.aborted = threading.Event()

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        if self.aborted.is_set():
            _shut(connection)

    def abort(self) -> None:
        self.aborted.set()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _shut(connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)  # unlike close, this wakes a thread that reads from it
    except OSError:
        return  # it ended by itself


class _Adapter(HTTPAdapter):
    """requests' transport with connections that register their sockets."""

    def __init__(self, sockets: _Sockets) -> None:
        self._pools = _pool_classes(sockets)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - requests' own signature
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:  # noqa: ANN401 - requests' own signature
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pool_classes(sockets: _Sockets) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    class PlainConnection(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class TlsConnection(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": PlainPool, "https": TlsPool}


class Client:
    """A pipeline API at `url`, such as http://127.0.0.1:8080.

    `timeout` is in seconds and for one document. After a connection that broke the client waits up to `patience`
    seconds until the API is healthy again and sends the document once more, `resends` times at most.
    Proxies of the environment are used, except for an API on this machine. `base` is where requests go; `url` is the
    same without a password, for people to read.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        resends: int = RESENDS,
        patience: float = PATIENCE,
        pause: float = PAUSE,
    ) -> None:
        self.base, self.url, local = _read_url(url)
        self._timeout, self._resends, self._patience, self._pause = timeout, resends, patience, pause
        self._answered = False
        self._sockets = _Sockets()
        self._use_proxies = not local

    def abort(self) -> None:
        """End every wait of this client, in whatever thread: each call under way raises Interrupted."""
        self._sockets.abort()

    def check_health(self, *, timeout: float = HEALTH_TIMEOUT) -> None:
        """Raise unless the API answers. It answers while its VLM server is down too: only a parse shows both."""
        try:
            self._answer("GET", "/health", timeout=timeout)
        except _LostError as lost:
            raise lost.error from None

    def parse(self, document: Document, options: ParseOptions) -> ParsedDocument:
        """Every page of `document`.

        Raises UsageError when the API refuses the document, UnreachableError when it does not answer (any more),
        UnhealthyError when it fails, takes too long, or leaves pages out, Interrupted after `abort`.
        """
        for attempt in range(self._resends + 1):
            try:
                body = _Body(document, options)
                answer = self._answer("POST", "/layout-parsing", timeout=self._timeout, body=body, document=document)
                return _read_answer(self.url, document, body.sha256, answer)
            except _LostError as lost:
                error = lost.error
                if isinstance(error, UnreachableError) and not self._answered:
                    break
            if attempt < self._resends:
                self._wait_until_healthy()
        raise error

    def _wait_until_healthy(self) -> None:
        """Return once the API is healthy; raise UnreachableError when it is not within the patience."""
        until = time.monotonic() + self._patience
        while True:
            if self._sockets.aborted.wait(self._pause):
                raise Interrupted("interrupted")
            try:
                return self.check_health()
            except UnhealthyError as error:
                if time.monotonic() >= until:
                    raise UnreachableError(
                        f"{self.url}: the pipeline API stopped answering and did not come back within "
                        f"{self._patience:.0f} s: {error.message.removeprefix(self.url + ': ')}",
                        hint=_LOOK_HINT,
                    ) from error

    def _answer(
        self, method: str, path: str, *, timeout: float, body: _Body | None = None, document: Document | None = None
    ) -> dict[str, Any]:
        """The JSON of a good answer. Raises _LostError where another attempt may help."""
        try:
            response = self._send(method, path, timeout, body)
        except requests.RequestException as failure:
            if self._sockets.aborted.is_set():
                raise Interrupted("interrupted") from failure
            raise self._no_answer(failure, timeout) from failure
        self._answered = True
        return self._good(response, method, path, document)

    def _send(self, method: str, path: str, timeout: float, body: _Body | None) -> requests.Response:
        """One request on a connection of its own: a parse takes seconds, and a kept one may be closed as we send."""
        with requests.Session() as session:
            session.trust_env = self._use_proxies
            session.mount("http://", _Adapter(self._sockets))
            session.mount("https://", _Adapter(self._sockets))
            return session.request(
                method,
                self.base + path,
                data=body,
                headers={"Connection": "close", "Content-Type": "application/json"},
                timeout=(CONNECT_TIMEOUT, timeout),
                allow_redirects=False,
            )

    def _no_answer(self, failure: requests.RequestException, timeout: float) -> PaddockError | _LostError:
        causes = list(_causes(failure))
        if any(isinstance(cause, requests.exceptions.SSLError) for cause in causes):
            return UnhealthyError(f"{self.url}: no TLS connection: {_reason(causes)}")
        if isinstance(failure, requests.exceptions.ProxyError):
            hint = "the proxy comes from HTTP_PROXY or HTTPS_PROXY; list the API's host in NO_PROXY"
            return UnreachableError(f"{self.url}: the proxy did not connect: {_reason(causes)}", hint=hint)
        if isinstance(failure, requests.exceptions.ConnectTimeout):
            message = f"{self.url}: no connection within {CONNECT_TIMEOUT:.0f} s"
            return _LostError(UnreachableError(message, hint=_START_HINT))
        if any(isinstance(cause, NewConnectionError) for cause in causes):
            message = f"{self.url}: no pipeline API answers there: {_reason(causes)}"
            return _LostError(UnreachableError(message, hint=_START_HINT))
        if any(isinstance(cause, (TimeoutError, ReadTimeoutError, requests.ReadTimeout)) for cause in causes):
            return UnhealthyError(
                f"{self.url}: no answer within {timeout:g} s",
                hint="give a slow machine or a long document more time with --timeout; `paddock status` shows whether "
                "the stack still works",
            )
        message = f"{self.url}: the connection was cut before the answer was complete: {_reason(causes)}"
        return _LostError(UnhealthyError(message, hint=_LOOK_HINT))

    def _good(self, response: requests.Response, method: str, path: str, document: Document | None) -> dict[str, Any]:
        status = response.status_code
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None
        if status == 200 and isinstance(answer, dict) and answer.get("errorCode") == 0:
            return answer
        said = _plain(answer) if isinstance(answer, dict) else ""
        if status in _TRANSIENT:
            message = f"{self.url}: answered {status}{_said(said or response.reason)}"
            raise _LostError(UnhealthyError(message, hint=_LOOK_HINT))
        if said and status == 422:
            raise _refused(document, said)
        if said and status >= 500:
            raise self._failed(status, said)
        raise UnhealthyError(
            f"{self.url}: found answer {status}{_said(said or response.reason)} to {method} {path}, "
            "expected that of a pipeline API",
            hint="--url wants the pipeline API of a stack, not its VLM server or another service",
        )

    def _failed(self, status: int, said: str) -> UnhealthyError:
        if _VLM_SIGNS.search(said):
            return UnhealthyError(
                f"{self.url}: the pipeline API could not reach its VLM server ({status}: {said})", hint=_LOOK_HINT
            )
        # PaddleX hides the reason of every failure inside behind these words, also when its VLM server is down; an API
        # of paddock's can be asked about that.
        what = f"{self.url}: the pipeline API failed inside ({status}: {said})"
        state = readiness.ask(self.base)
        if state.ready:
            return UnhealthyError(
                f"{what}, although its VLM server answers: it is this document, or a request that came too early",
                hint="`paddock logs` shows the reason; a region many times longer than wide is a common one",
            )
        if state.model:
            return UnhealthyError(f"{what}: {state.reason}", hint=_LOOK_HINT)
        return UnhealthyError(
            f"{what}; it names no reason, and the usual one is that it could not reach its VLM server", hint=_LOOK_HINT
        )


def _read_url(url: str) -> tuple[str, str, bool]:
    """The URL without a trailing slash, the same without a password for messages, and whether it is this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise UsageError(f"{url}: not a URL: {wrong}") from wrong
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url}: not the URL of a pipeline API, expected one like http://127.0.0.1:8080")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/")
    visible = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"
    return f"{parts.scheme}://{parts.netloc}{path}", visible, _is_local(parts.hostname)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """An exception and all that it wraps; requests and urllib3 keep them in `args` and `reason`."""
    yield failure
    inside = getattr(failure, "reason", None)
    for value in (*failure.args, inside):
        if isinstance(value, BaseException):
            yield from _causes(value)


def _reason(causes: list[BaseException]) -> str:
    """The operating system's words where there are some, else the innermost exception's."""
    for cause in reversed(causes):
        for inner in (cause, cause.__cause__, cause.__context__):
            if isinstance(inner, OSError) and inner.strerror:
                return inner.strerror
    return str(causes[-1])


def _plain(answer: dict[str, Any]) -> str:
    """`errorMsg` in plain words: for a request that does not fit the schema it is a JSON list of errors."""
    said = answer.get("errorMsg")
    if not isinstance(said, str):
        return ""
    try:
        errors = json.loads(said)
        return "; ".join(f"{error['loc']}: {error['msg']}" for error in errors)
    except (ValueError, TypeError, KeyError):
        return said.strip()


def _said(words: str) -> str:
    return f" ({words})" if words else ""


def _refused(document: Document | None, said: str) -> UsageError:
    name = document.name if document else "request"
    return UsageError(f"{name}: the pipeline API refused it (422: {said})")


class _MalformedError(Exception):
    """Where in an answer something is not what the schema says."""


def _read_answer(url: str, document: Document, sha256: str, answer: dict[str, Any]) -> ParsedDocument:
    try:
        result = _get(answer, "result", dict)
        info = _get(result, "dataInfo", dict)
        pages = tuple(_read_page(page, f"page {n}") for n, page in enumerate(_entries(result), 1))
    except _MalformedError as malformed:
        raise UnhealthyError(
            f"{url}: the answer for {document.name} is not that of a pipeline API: {malformed}",
            hint="paddock speaks the API of PaddleX 3.7 (`/layout-parsing`)",
        ) from malformed
    counted = info.get("numPages")
    expected = max(document.pages, counted if isinstance(counted, int) else 1)
    if len(pages) < expected:
        raise UnhealthyError(
            f"{document.name}: pages are missing in the answer of {url}: found {len(pages)}, expected {expected}",
            hint=_LIMIT_HINT,
        )
    return ParsedDocument(sha256=sha256, pages=pages, info=info)


def _entries(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each page's entry, taken out of the answer so that its base64 can be freed as soon as it is decoded."""
    entries: list[Any] = _get(result, "layoutParsingResults", list)
    entries.reverse()
    while entries:
        entry = entries.pop()
        if not isinstance(entry, dict):
            raise _MalformedError("layoutParsingResults holds something else than pages")
        entry.pop("inputImage", None)
        yield entry


def _read_page(entry: dict[str, Any], where: str) -> Page:
    markdown = _get(entry, "markdown", dict)
    return Page(
        markdown=_get(markdown, "text", str),
        images=_decoded(markdown, "images", where),
        pictures=_decoded(entry, "outputImages", where),
        result=_get(entry, "prunedResult", dict),
    )


def _decoded(holder: dict[str, Any], key: str, where: str) -> dict[str, bytes]:
    if holder.get(key) is None:
        return {}
    images: dict[str, Any] = _get(holder, key, dict)
    return {name: _image(images.pop(name), f"{where}: {key} {name!r}") for name in list(images)}


def _image(value: object, where: str) -> bytes:
    if not isinstance(value, str):
        raise _MalformedError(f"{where}: found {type(value).__name__}, expected base64")
    if value.startswith(("http://", "https://")):
        raise _MalformedError(f"{where}: found a link, expected base64: set Serving.return_urls to false in the API")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as wrong:
        raise _MalformedError(f"{where}: {wrong}") from wrong


def _get(holder: dict[str, Any], key: str, kind: type[Any]) -> Any:  # noqa: ANN401 - JSON
    value = holder.get(key)
    if not isinstance(value, kind):
        raise _MalformedError(f"{key}: found {type(value).__name__}, expected {kind.__name__}")
    return value
