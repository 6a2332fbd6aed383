"""The client of one pipeline API (PaddleX serving): `GET /health` and `POST /layout-parsing`.

Request and answer are those of PaddleX 3.7 (`inference/serving/schemas/paddleocr_vl.py`): base64 in JSON both
ways. Folders and batches are `paddock.parse.batch`'s. A client may be used by many threads at once, and
`abort` ends what they are waiting for.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from paddock.errors import (
    Interrupted,
    PaddockError,
    UnhealthyError,
    UnknownClientError,
    UnreachableError,
    UsageError,
)
from paddock.jsonvalues import MalformedError
from paddock.parse import readiness
from paddock.parse.connection import CONNECT_TIMEOUT, SMALL_ANSWER, Breakdown, NoAnswerError, read_url
from paddock.parse.document import Document
from paddock.parse.spool import Spool
from paddock.parse.wire import (
    LARGEST_ANSWER,
    LARGEST_PAGE,
    AnswerReader,
    Body,
    Envelope,
    ParsedDocument,
    ParseOptions,
    read_envelope,
)
from paddock.report import clipped

if TYPE_CHECKING:
    from paddock.parse.transport import Answer

DEFAULT_TIMEOUT = 600.0  # seconds for one document; the API sends nothing before all pages are done
HEALTH_TIMEOUT = 5.0
RESENDS = 2  # a document whose connection broke is sent this many times more
PATIENCE = 30.0  # seconds that an API which broke off has to come back: a container restarts in less
PAUSE = 1.0

_BUSY = frozenset({429, 503})  # with Retry-After: it has enough to do, and says when to come again
_TRANSIENT = _BUSY | {502, 504}  # what a balancer says while its API restarts
_REFUSED = frozenset({400, 413, 415, 422})  # it is this document
_START_HINT = "start a stack with `paddock up TARGET`, or name another pipeline API with --url or PADDOCK_URL"
_LOOK_HINT = (
    "`paddock status` shows which part is down, `paddock logs TARGET` says why; "
    "then run the same command again"
)
_PROXY_HINT = (
    "the proxy comes from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: unset it, name an HTTP proxy there, "
    "or list the API's host in NO_PROXY"
)
_SLOW_HINT = (
    "give a slow machine or a long document more time with --timeout; "
    "`paddock status` shows whether the stack still works"
)
_BUSY_HINT = "give it fewer documents at a time with --jobs, or each more time with --timeout"
_TRUST_HINT = "check that the URL is that of a pipeline API that you trust"
_KEY_HINT = "`paddock keys add NAME` on the API's host makes a key; write it to a file that only you can read"
# What PaddleX answers when its VLM server failed it.
_VLM_SIGNS = re.compile(
    r"connection error|connect|timed out|worker: request|chat/completions|'vlm' worker", re.I
)


class _LostError(Exception):
    """An attempt failed in a way that another attempt may mend; `error` is what to raise without one."""

    def __init__(self, error: UnhealthyError) -> None:
        super().__init__(error.message)
        self.error = error


class _FailedError(_LostError):
    """The API failed inside."""


class _BusyError(_LostError):
    """The API has no room for the document now, and asks for `pause` seconds."""

    def __init__(self, error: UnhealthyError, pause: float) -> None:
        super().__init__(error)
        self.pause = pause


class Client:
    """A pipeline API at `url`, such as http://127.0.0.1:8080.

    `timeout` is in seconds and for one document, whatever happens to it. After a connection that broke the
    client waits up to `patience` seconds until the API is healthy again and sends the document once more,
    `resends` times at most; an API that is busy is asked again when it said. While the VLM server of an API
    of paddock is away, as it is when it restarts, documents wait for it as long as their time lasts, and
    `say` is told once. Proxies of the environment are used, except for an API on this machine. `key` is sent
    with every request, and shown nowhere. `base` is where requests go; `url` is the same without a password,
    for people to read. Raises UsageError for what is no URL, UnreachableError for a proxy that is no HTTP
    proxy.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        resends: int = RESENDS,
        patience: float = PATIENCE,
        pause: float = PAUSE,
        say: Callable[[str], None] = lambda _message: None,
    ) -> None:
        from paddock.parse.transport import Transport  # noqa: PLC0415 - loads requests

        address = read_url(url)
        self.base, self.url = address.url, address.shown
        self._timeout, self._resends, self._patience, self._pause = timeout, resends, patience, pause
        self._answered, self._has_key = False, bool(key)
        self._say, self._said = say, threading.Lock()  # held from what was said until the server is back
        try:
            self._transport = Transport(address, key=key)
        except NoAnswerError as failure:
            raise self._no_answer(failure, timeout) from failure

    def abort(self) -> None:
        """End every wait of this client, in whatever thread: each call under way raises Interrupted."""
        self._transport.abort()

    def check_health(self, *, timeout: float = HEALTH_TIMEOUT) -> None:
        """Raise unless the API answers. It does so without its VLM server, too: only a parse needs both."""
        try:
            with self._send("GET", "/health", timeout=timeout) as answer:
                self._judge(answer, read_envelope(answer.whole()), "GET /health")
        except _LostError as lost:
            raise lost.error from None

    def parse(
        self, document: Document, options: ParseOptions, *, spool_in: Path | None = None
    ) -> ParsedDocument:
        """Return every page of `document`; they lie in a file without a name in the folder `spool_in`.

        Raises UsageError when the API refuses the document, UnreachableError when it does not answer (any
        more), wants a key, or is without its VLM server until the time is over, UnhealthyError when it fails,
        takes too long, sends what is no answer, or leaves pages out, Interrupted after `abort`, OSError when
        the answer cannot be kept. A page that failed does not raise: it is among the problems.
        """
        until = time.monotonic() + self._timeout
        resends = self._resends
        while True:
            try:
                return self._parse_once(document, options, Spool(spool_in), until)
            except _BusyError as busy:
                if busy.pause > until - time.monotonic():
                    raise busy.error from None
                self._rest(busy.pause)
            except _LostError as lost:
                gone = isinstance(lost.error, UnreachableError) and not self._answered
                if gone or not resends:
                    raise lost.error from None
                resends -= 1
                self._wait_until_healthy(until)
                if not self._waited_for_vlm(until) and isinstance(lost, _FailedError):
                    resends = 0  # everything is there, so one more attempt shows whether it is the document

    def _parse_once(
        self, document: Document, options: ParseOptions, spool: Spool, until: float
    ) -> ParsedDocument:
        """Return a good answer. Raises _LostError where another attempt may help."""
        body = Body(document, options)
        limit = LARGEST_ANSWER + document.pages * LARGEST_PAGE
        request = "POST /layout-parsing"
        with self._send(
            *request.split(), timeout=self._timeout, until=until, body=body, limit=limit
        ) as answer:
            try:
                reader = AnswerReader(answer.read, document, spool, judged=answer.judged)
                envelope = reader.envelope() if answer.status == 200 else read_envelope(answer.whole())
                self._judge(answer, envelope, request, document)
                return reader.parsed(body.sha256, url=self.url)
            except MalformedError as malformed:
                raise UnhealthyError(
                    f"{self.url}: the answer for {document.name} is not that of a pipeline API: {malformed}",
                    hint="paddock speaks the API of PaddleX 3.7 (`/layout-parsing`)",
                ) from malformed

    @contextmanager
    def _send(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        until: float | None = None,
        body: Body | None = None,
        limit: int = SMALL_ANSWER,
    ) -> Iterator[Answer]:
        """Send a request that has `timeout` seconds, of which some may be over: those after `until`."""
        left = timeout if until is None else until - time.monotonic()
        try:
            with self._transport.send(method, path, timeout=left, body=body, limit=limit) as answer:
                self._answered = True
                yield answer
        except NoAnswerError as failure:
            raise self._no_answer(failure, timeout) from failure

    def _judge(
        self, answer: Answer, envelope: Envelope | None, request: str, document: Document | None = None
    ) -> None:
        """Raise unless this is a good answer."""
        if answer.status != 200 or envelope is None or envelope.error_code != 0:
            raise self._refusal(answer, envelope.message if envelope else "", request, document)

    def _rest(self, seconds: float) -> None:
        if self._transport.aborted.wait(seconds):
            raise Interrupted("interrupted")

    def _wait_until_healthy(self, until: float) -> None:
        """Return once the API is healthy; raise UnreachableError when it is not within the patience.

        Raises UnhealthyError when the time of the document is over before, at `until`.
        """
        last = time.monotonic() + self._patience
        while True:
            self._rest(self._pause)
            try:
                return self.check_health()
            except UnhealthyError as error:
                if time.monotonic() >= last:
                    raise UnreachableError(
                        f"{self.url}: the pipeline API stopped answering and did not come back within "
                        f"{self._patience:.0f} s: {error.message.removeprefix(self.url + ': ')}",
                        hint=_LOOK_HINT,
                    ) from error
                if time.monotonic() >= until:
                    raise self._late(self._timeout) from error

    def _waited_for_vlm(self, until: float) -> bool:
        """Return once the VLM server of an API of paddock is there; whether it was away.

        Raises UnreachableError where it is still away at `until`: other documents would fail like this one.
        """
        state, waited, speaker = readiness.ask(self.base), False, False
        try:
            while state.model and not state.ready:
                if not speaker and (speaker := self._said.acquire(blocking=False)):
                    summary = state.reason.partition(": ")[0]  # without the sockets behind it
                    self._say(f"{self.url}: {summary}; waiting for it")
                if time.monotonic() >= until:
                    what = f"the pipeline API is not ready after {self._timeout:g} s: {state.reason}"
                    raise UnreachableError(f"{self.url}: {what}", hint=_LOOK_HINT)
                waited = True
                self._rest(self._pause)
                state = readiness.ask(self.base)
        finally:
            if speaker:
                self._said.release()
        return waited

    def _no_answer(self, failure: NoAnswerError, timeout: float) -> PaddockError | _LostError:  # noqa: PLR0911
        where, reason = self.url, failure.reason
        match failure.breakdown:
            case Breakdown.ABORTED:
                return Interrupted("interrupted")
            case Breakdown.NO_ADDRESS:
                return UnreachableError(f"{where}: no pipeline API can be there: {reason}", hint=_START_HINT)
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
                return self._late(timeout)
            case Breakdown.UNWANTED:
                return UnhealthyError(f"{where}: refused its answer: {reason}", hint=_TRUST_HINT)
            case Breakdown.CUT:
                message = f"{where}: the connection was cut before the answer was complete: {reason}"
                return _LostError(UnhealthyError(message, hint=_LOOK_HINT))

    def _late(self, timeout: float) -> UnhealthyError:
        return UnhealthyError(f"{self.url}: no answer within {timeout:g} s", hint=_SLOW_HINT)

    def _refusal(
        self, answer: Answer, message: str, request: str, document: Document | None
    ) -> PaddockError | _LostError:
        status, said = answer.status, message or clipped(answer.reason, 100)
        in_brackets = f" ({said})" if said else ""
        pause = _pause(answer.retry_after)
        if status in _BUSY and pause is not None:
            text = f"{self.url}: answered {status}{in_brackets} until the time for this document was over"
            return _BusyError(UnhealthyError(text, hint=_BUSY_HINT), max(pause, self._pause))
        if status in (401, 403):
            return self._unknown(status, in_brackets)
        if status in _TRANSIENT:
            error = UnhealthyError(f"{self.url}: answered {status}{in_brackets}", hint=_LOOK_HINT)
            too_slow = status == 504 and message  # the API itself, and it would be again
            return error if too_slow else _LostError(error)
        if message and status in _REFUSED:
            name = document.name if document else "request"
            return UsageError(f"{name}: the pipeline API refused it ({status}: {message})")
        if message and status >= 500:
            return self._failed(status, message)
        return UnhealthyError(
            f"{self.url}: found answer {status}{in_brackets} to {request}, expected that of a pipeline API",
            hint="--url wants the pipeline API of a stack, not its VLM server or another service",
        )

    def _unknown(self, status: int, in_brackets: str) -> UnknownClientError:
        """The API does not take us: no use in sending more."""
        if not self._has_key:
            what, hint = "wants an API key", f"{_KEY_HINT}; then name it with --key-file FILE"
        elif status == 401:
            what, hint = (
                "does not know this API key",
                f"{_KEY_HINT}, then check --key-file or PADDOCK_KEY_FILE",
            )
        else:
            what, hint = "refuses this request, with this API key", "ask who operates it what the key may do"
        return UnknownClientError(
            f"{self.url}: the pipeline API {what} (answer {status}{in_brackets})", hint=hint
        )

    def _failed(self, status: int, message: str) -> UnhealthyError | _LostError:
        """PaddleX hides the reason of most failures behind the same words; an API of paddock can be asked."""
        what = f"{self.url}: the pipeline API failed inside ({status}: {message})"
        state = readiness.ask(self.base)
        if state.ready:
            return _FailedError(
                UnhealthyError(
                    f"{what}, although its VLM server answers: "
                    "it is this document, or a request that came too early",
                    hint="`paddock logs TARGET` shows the reason",
                )
            )
        if state.model:
            return _FailedError(UnhealthyError(f"{what}: {state.reason}", hint=_LOOK_HINT))
        if not _VLM_SIGNS.search(message):
            return UnhealthyError(
                f"{what}; it names no reason, and the usual one is that it could not reach its VLM server",
                hint=_LOOK_HINT,
            )
        what = f"{self.url}: the pipeline API could not reach its VLM server ({status}: {message})"
        if "connect" not in message.lower():
            return UnhealthyError(what, hint=_LOOK_HINT)
        # It cannot be asked when that is back, so it is asked for the document itself from time to time.
        return _BusyError(UnreachableError(what, hint=_LOOK_HINT), self._patience / 2)


def _pause(retry_after: str) -> float | None:
    """The seconds that Retry-After (RFC 9110, section 10.2.3) asks for; None where it asks for none."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # no date; one without a time zone
        return None
