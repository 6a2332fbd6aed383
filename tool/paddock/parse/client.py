"""HTTP client of one pipeline API (PaddleX serving): `GET /health` and `POST /layout-parsing`.

Request and answer are those of PaddleX 3.7 (`inference/serving/schemas/paddleocr_vl.py`): base64 in JSON both
ways. Knows nothing of folders and batches: `paddock.parse` does. A client may be used by many threads at
once, and `abort` ends what they are waiting for.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from paddock.errors import Interrupted, PaddockError, UnhealthyError, UnreachableError, UsageError
from paddock.parse import readiness
from paddock.parse.document import Document
from paddock.parse.transport import Adapter, Sockets, causes_of, read_url, reason
from paddock.parse.wire import Body, ParsedDocument, ParseOptions, read_answer

DEFAULT_TIMEOUT = 600.0  # seconds for one document; the API sends nothing before all pages are done
CONNECT_TIMEOUT = 10.0
HEALTH_TIMEOUT = 5.0
RESENDS = 2  # a document whose connection broke is sent this many times more
PATIENCE = 30.0  # seconds that an API which broke off has to come back: a container restarts in less
PAUSE = 1.0

_TRANSIENT = frozenset({429, 502, 503, 504})  # what a balancer says while its API restarts
_START_HINT = "start a stack with `paddock up`, or name another pipeline API with --url or PADDOCK_URL"
_LOOK_HINT = (
    "`paddock status` shows which part is down, `paddock logs` says why; then run the same command again"
)

_VLM_SIGNS = re.compile(
    r"connection error|connect|timed out|worker: request|chat/completions|'vlm' worker", re.I
)


class _LostError(Exception):
    """An attempt that another attempt may mend. `error` is what to raise when there is none."""

    def __init__(self, error: UnhealthyError) -> None:
        super().__init__(error.message)
        self.error = error


class Client:
    """A pipeline API at `url`, such as http://127.0.0.1:8080.

    `timeout` is in seconds and for one document. After a connection that broke the client waits up to
    `patience` seconds until the API is healthy again and sends the document once more, `resends` times at
    most. Proxies of the environment are used, except for an API on this machine. `base` is where requests go;
    `url` is the same without a password, for people to read.
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
        self.base, self.url, local = read_url(url)
        self._timeout, self._resends, self._patience, self._pause = timeout, resends, patience, pause
        self._answered = False
        self._sockets = Sockets()
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

        Raises UsageError when the API refuses the document, UnreachableError when it does not answer (any
        more), UnhealthyError when it fails, takes too long, or leaves pages out, Interrupted after `abort`.
        """
        for attempt in range(self._resends + 1):
            try:
                body = Body(document, options)
                answer = self._answer(
                    "POST", "/layout-parsing", timeout=self._timeout, body=body, document=document
                )
                return read_answer(self.url, document, body.sha256, answer)
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
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        body: Body | None = None,
        document: Document | None = None,
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

    def _send(self, method: str, path: str, timeout: float, body: Body | None) -> requests.Response:
        """One request on a connection of its own: a parse takes seconds, and a kept one may be closed as we
        send.
        """
        with requests.Session() as session:
            session.trust_env = self._use_proxies
            session.mount("http://", Adapter(self._sockets))
            session.mount("https://", Adapter(self._sockets))
            return session.request(
                method,
                self.base + path,
                data=body,
                headers={"Connection": "close", "Content-Type": "application/json"},
                timeout=(CONNECT_TIMEOUT, timeout),
                allow_redirects=False,
            )

    def _no_answer(self, failure: requests.RequestException, timeout: float) -> PaddockError | _LostError:
        causes = list(causes_of(failure))
        if any(isinstance(cause, requests.exceptions.SSLError) for cause in causes):
            return UnhealthyError(f"{self.url}: no TLS connection: {reason(causes)}")
        if isinstance(failure, requests.exceptions.ProxyError):
            hint = "the proxy comes from HTTP_PROXY or HTTPS_PROXY; list the API's host in NO_PROXY"
            return UnreachableError(f"{self.url}: the proxy did not connect: {reason(causes)}", hint=hint)
        if isinstance(failure, requests.exceptions.ConnectTimeout):
            message = f"{self.url}: no connection within {CONNECT_TIMEOUT:.0f} s"
            return _LostError(UnreachableError(message, hint=_START_HINT))
        if any(isinstance(cause, NewConnectionError) for cause in causes):
            message = f"{self.url}: no pipeline API answers there: {reason(causes)}"
            return _LostError(UnreachableError(message, hint=_START_HINT))
        if any(isinstance(cause, (TimeoutError, ReadTimeoutError, requests.ReadTimeout)) for cause in causes):
            return UnhealthyError(
                f"{self.url}: no answer within {timeout:g} s",
                hint="give a slow machine or a long document more time with --timeout; `paddock status` shows whether "
                "the stack still works",
            )
        message = f"{self.url}: the connection was cut before the answer was complete: {reason(causes)}"
        return _LostError(UnhealthyError(message, hint=_LOOK_HINT))

    def _good(
        self, response: requests.Response, method: str, path: str, document: Document | None
    ) -> dict[str, Any]:
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
                f"{self.url}: the pipeline API could not reach its VLM server ({status}: {said})",
                hint=_LOOK_HINT,
            )
        # PaddleX hides the reason of every failure inside behind these words, also when its VLM server is
        # down; an API of paddock's can be asked about that.
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
            f"{what}; it names no reason, and the usual one is that it could not reach its VLM server",
            hint=_LOOK_HINT,
        )


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
