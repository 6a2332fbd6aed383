"""The client of one pipeline API (PaddleX serving): `GET /health` and `POST /layout-parsing`.

Request and answer are those of PaddleX 3.7 (`inference/serving/schemas/paddleocr_vl.py`): base64 in JSON both
ways. Folders and batches are `paddock.parse.batch`'s. A client may be used by many threads at once, and
`abort` ends what they are waiting for.
"""

from __future__ import annotations

import re
import time

from paddock.errors import Interrupted, PaddockError, UnhealthyError, UnreachableError, UsageError
from paddock.parse import readiness
from paddock.parse.connection import CONNECT_TIMEOUT, Answer, Breakdown, NoAnswerError, read_url
from paddock.parse.document import Document
from paddock.parse.wire import Body, Envelope, ParsedDocument, ParseOptions, read_envelope, read_result

DEFAULT_TIMEOUT = 600.0  # seconds for one document; the API sends nothing before all pages are done
HEALTH_TIMEOUT = 5.0
RESENDS = 2  # a document whose connection broke is sent this many times more
PATIENCE = 30.0  # seconds that an API which broke off has to come back: a container restarts in less
PAUSE = 1.0

_TRANSIENT = frozenset({429, 502, 503, 504})  # what a balancer says while its API restarts
_START_HINT = "start a stack with `paddock up`, or name another pipeline API with --url or PADDOCK_URL"
_LOOK_HINT = (
    "`paddock status` shows which part is down, `paddock logs` says why; then run the same command again"
)
_PROXY_HINT = "the proxy comes from HTTP_PROXY or HTTPS_PROXY; list the API's host in NO_PROXY"
_SLOW_HINT = (
    "give a slow machine or a long document more time with --timeout; "
    "`paddock status` shows whether the stack still works"
)
# What PaddleX answers when its VLM server failed it.
_VLM_SIGNS = re.compile(
    r"connection error|connect|timed out|worker: request|chat/completions|'vlm' worker", re.I
)


class _LostError(Exception):
    """An attempt failed in a way that another attempt may mend; `error` is what to raise without one."""

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
        from paddock.parse.transport import Transport  # noqa: PLC0415 - loads requests

        address = read_url(url)
        self.base, self.url = address.base, address.shown
        self._timeout, self._resends, self._patience, self._pause = timeout, resends, patience, pause
        self._answered = False
        self._transport = Transport(address)

    def abort(self) -> None:
        """End every wait of this client, in whatever thread: each call under way raises Interrupted."""
        self._transport.abort()

    def check_health(self, *, timeout: float = HEALTH_TIMEOUT) -> None:
        """Raise unless the API answers. It does so without its VLM server, too: only a parse needs both."""
        try:
            self._request("GET", "/health", timeout=timeout)
        except _LostError as lost:
            raise lost.error from None

    def parse(self, document: Document, options: ParseOptions) -> ParsedDocument:
        """Return every page of `document`.

        Raises UsageError when the API refuses the document, UnreachableError when it does not answer (any
        more), UnhealthyError when it fails, takes too long, or leaves pages out, Interrupted after `abort`.
        """
        for attempt in range(self._resends + 1):
            try:
                return self._parse_once(document, options)
            except _LostError as lost:
                error = lost.error
                if isinstance(error, UnreachableError) and not self._answered:
                    break
            if attempt < self._resends:
                self._wait_until_healthy()
        raise error

    def _parse_once(self, document: Document, options: ParseOptions) -> ParsedDocument:
        body = Body(document, options)
        path = "/layout-parsing"
        envelope = self._request("POST", path, timeout=self._timeout, body=body, document=document)
        return read_result(self.url, document, body.sha256, envelope.result)

    def _wait_until_healthy(self) -> None:
        """Return once the API is healthy; raise UnreachableError when it is not within the patience."""
        until = time.monotonic() + self._patience
        while True:
            if self._transport.aborted.wait(self._pause):
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

    def _request(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        body: Body | None = None,
        document: Document | None = None,
    ) -> Envelope:
        """Return a good answer. Raises _LostError where another attempt may help."""
        try:
            answer = self._transport.send(method, path, timeout=timeout, body=body)
        except NoAnswerError as failure:
            raise self._no_answer(failure, timeout) from failure
        self._answered = True
        envelope = read_envelope(answer.content)
        if answer.status == 200 and envelope is not None and envelope.error_code == 0:
            return envelope
        raise self._refusal(answer, envelope.message if envelope else "", f"{method} {path}", document)

    def _no_answer(self, failure: NoAnswerError, timeout: float) -> PaddockError | _LostError:
        where, reason = self.url, failure.reason
        match failure.breakdown:
            case Breakdown.ABORTED:
                return Interrupted("interrupted")
            case Breakdown.TLS:
                return UnhealthyError(f"{where}: no TLS connection: {reason}")
            case Breakdown.PROXY:
                return UnreachableError(f"{where}: the proxy did not connect: {reason}", hint=_PROXY_HINT)
            case Breakdown.CONNECT_TIMEOUT | Breakdown.NOT_CONNECTED:
                what = f"no pipeline API answers there: {reason}"
                if failure.breakdown is Breakdown.CONNECT_TIMEOUT:
                    what = f"no connection within {CONNECT_TIMEOUT:.0f} s"
                return _LostError(UnreachableError(f"{where}: {what}", hint=_START_HINT))
            case Breakdown.READ_TIMEOUT:
                return UnhealthyError(f"{where}: no answer within {timeout:g} s", hint=_SLOW_HINT)
            case Breakdown.CUT:
                message = f"{where}: the connection was cut before the answer was complete: {reason}"
                return _LostError(UnhealthyError(message, hint=_LOOK_HINT))

    def _refusal(
        self, answer: Answer, message: str, request: str, document: Document | None
    ) -> PaddockError | _LostError:
        status, said = answer.status, message or answer.reason
        in_brackets = f" ({said})" if said else ""
        if status in _TRANSIENT:
            text = f"{self.url}: answered {status}{in_brackets}"
            return _LostError(UnhealthyError(text, hint=_LOOK_HINT))
        if message and status == 422:
            name = document.name if document else "request"
            return UsageError(f"{name}: the pipeline API refused it (422: {message})")
        if message and status >= 500:
            return self._failed(status, message)
        return UnhealthyError(
            f"{self.url}: found answer {status}{in_brackets} to {request}, expected that of a pipeline API",
            hint="--url wants the pipeline API of a stack, not its VLM server or another service",
        )

    def _failed(self, status: int, message: str) -> UnhealthyError:
        if _VLM_SIGNS.search(message):
            return UnhealthyError(
                f"{self.url}: the pipeline API could not reach its VLM server ({status}: {message})",
                hint=_LOOK_HINT,
            )
        # PaddleX hides the reason of every failure inside behind the same words, also when its VLM server is
        # down; an API of paddock can be asked about that.
        what = f"{self.url}: the pipeline API failed inside ({status}: {message})"
        state = readiness.ask(self.base)
        if state.ready:
            return UnhealthyError(
                f"{what}, although its VLM server answers: "
                "it is this document, or a request that came too early",
                hint="`paddock logs` shows the reason; a region many times longer than wide is a common one",
            )
        if state.model:
            return UnhealthyError(f"{what}: {state.reason}", hint=_LOOK_HINT)
        return UnhealthyError(
            f"{what}; it names no reason, and the usual one is that it could not reach its VLM server",
            hint=_LOOK_HINT,
        )
