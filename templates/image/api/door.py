"""Takes HTTP requests: who may ask, how much at once, how large and how long. The rest is refused before it costs much.

An ASGI application of a few paths, in PaddleX's own form of answers: {"logId", "errorCode", "errorMsg"} and perhaps
"result".
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from keys import Keys
from limits import Limits, Refusal
from turns import Budget, Request

BODY_IDLE = 30.0  # seconds between two pieces of a body
BODY_GRACE, BODY_RATE = 30.0, 32_768  # seconds, then at least so many bytes a second
READ_IDLE = 60.0  # seconds in which a client must take a piece of the answer
PIECE = 1 << 18  # bytes of an answer sent at once
BODIES = 5  # largest bodies that may be held at the same time
RETRY_AFTER = 10  # seconds
JUDGED = (b"x-paddock-pages", b"judged")  # a page without problems has none; others' services do not look

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Answer = list[bytes]  # of a JSON document, to be sent one after the other
Operation = Callable[[Request, bytes], Awaitable[Answer]]
log = logging.getLogger("uvicorn.error")


class Door:
    """The application. `operations` are the paths that take documents."""

    def __init__(
        self,
        limits: Limits,
        *,
        hosts: tuple[str, ...],
        keys: Keys | None,
        operations: Mapping[str, Operation],
        readiness: Callable[[], Awaitable[tuple[bool, dict[str, Any]]]],
        description: bytes,
    ) -> None:
        self._limits = limits
        self._hosts = hosts
        self._keys = keys
        self._operations = operations
        self._readiness = readiness
        self._description = description  # OpenAPI
        self._open = 0  # requests that are worked on or wait
        self._bodies = Budget(BODIES * limits.max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun = False

        async def noting(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await asyncio.wait_for(send(message), READ_IDLE)

        try:
            await self._route(scope, receive, noting)
        except Refusal as refused:
            if begun:
                raise
            await refuse(noting, refused)
        except Exception:
            log.exception("unexpected failure")
            if begun:
                raise
            await refuse(noting, Refusal(500, "Internal server error"))

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        require_host(headers.get("host", ""), self._hosts)
        path, method = scope["path"], scope["method"]
        if operation := self._operations.get(path):
            if method != "POST":
                raise Refusal(405, f"{path} takes POST")
            await self._work(operation, headers, receive, send)
            return
        if path not in ("/health", "/health/ready", "/openapi.json"):
            raise Refusal(404, "Not Found")
        if method not in ("GET", "HEAD"):
            raise Refusal(405, f"{path} takes GET")
        if path == "/health":
            await answer(send, 200, [said(0, "Healthy")])
        elif path == "/health/ready":
            ready, body = await self._readiness()
            await answer(send, 200 if ready else 503, [json.dumps(body, ensure_ascii=False).encode()])
        else:
            await answer(send, 200, [self._description])

    async def _work(self, operation: Operation, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        self._require_key(headers)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, "found no application/json, expected a JSON object in the body")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, "found a compressed body, expected one as it is")
        self._require_place()
        request = Request()
        async with self._body(headers, receive) as body:
            self._require_place()  # whoever sends slowly holds none meanwhile
            self._open += 1
            try:
                working = asyncio.ensure_future(operation(request, body))
                del body
                done = await self._finished(working, receive)
            finally:
                request.over = True
                self._open -= 1
        await answer(send, 200, done, [JUDGED])

    def _require_place(self) -> None:
        if self._open >= self._limits.open_requests:
            raise Refusal(
                503,
                f"{self._open} requests are open, as many as API_PARALLEL_REQUESTS and API_WAITING_REQUESTS allow",
                retry_after=RETRY_AFTER,
            )

    async def _finished(self, working: asyncio.Future[Answer], receive: Receive) -> Answer:
        """The answer, unless the client goes away or time is over."""
        gone = asyncio.ensure_future(disconnected(receive))
        both: set[asyncio.Future[Any]] = {working, gone}
        try:
            await asyncio.wait(both, timeout=self._limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if gone.done():
                raise Refusal(499, "the client went away")
            raise Refusal(504, f"it was not done within {self._limits.timeout} s (API_MAX_SECONDS)")
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def _require_key(self, headers: Mapping[str, str]) -> None:
        if self._keys is None:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
        if not key:
            raise Refusal(401, "found no key, expected one as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        if self._keys.name_of(key) is None:
            raise Refusal(401, "this key is not known here, or not any more")

    @contextlib.asynccontextmanager
    async def _body(self, headers: Mapping[str, str], receive: Receive) -> AsyncIterator[bytes]:
        """The body of a request, of which this service holds a limited number."""
        most = self._limits.max_body
        too_large = Refusal(413, f"found a body of more than {most} bytes, that is a document above API_MAX_BYTES")
        length = headers.get("content-length", "")
        if length and (not length.isdigit() or int(length) > most):
            raise too_large
        body, held, begun, more = bytearray(), 0, asyncio.get_running_loop().time(), True
        try:
            while more:
                try:
                    message = await asyncio.wait_for(receive(), BODY_IDLE)
                except asyncio.TimeoutError:  # noqa: UP041 - two until Python 3.10
                    raise Refusal(408, f"no byte of the body came for {BODY_IDLE:.0f} s") from None
                if message["type"] == "http.disconnect":
                    raise Refusal(499, "the client went away")
                piece, more = message.get("body", b""), message.get("more_body", False)
                if len(body) + len(piece) > most:
                    raise too_large
                if not self._bodies.take_at_once(len(piece)):
                    raise Refusal(503, "too many large documents are held at the moment", retry_after=RETRY_AFTER)
                held += len(piece)
                body += piece
                late = asyncio.get_running_loop().time() - begun - BODY_GRACE
                if more and late > 0 and len(body) < late * BODY_RATE:
                    raise Refusal(408, f"the body comes at less than {BODY_RATE} bytes a second")
            yield bytes(body)
        finally:
            self._bodies.give_back(held)


def require_host(host: str, named: tuple[str, ...]) -> None:
    """Refuse a Host header that a page in somebody's browser could have had resolved to this service.

    Addresses, `localhost`, names without a dot, and those in API_HOSTS are what one may call it.
    """
    if "*" in named:
        return
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?", host)
    name = found[1].strip("[]").lower().rstrip(".") if found else ""
    if not name:
        raise Refusal(400, "found no Host header that names a host")
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return
    if "." in name and name not in named and not name.endswith(".localhost"):
        raise Refusal(
            421, f"{name[:80]} is not a name of this service: API_HOSTS lists them, beside addresses and localhost"
        )


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def said(status: int, message: str) -> bytes:
    """An answer without a result, in PaddleX's form."""
    return json.dumps(
        {"logId": str(uuid.uuid4()), "errorCode": status, "errorMsg": message}, ensure_ascii=False
    ).encode("utf-8", "backslashreplace")


async def refuse(send: Send, refused: Refusal) -> None:
    """Answer with a refusal. The connection is closed: what is left of the body is not wanted."""
    headers = [(b"connection", b"close")]
    if refused.retry_after:
        headers.append((b"retry-after", str(refused.retry_after).encode()))
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await answer(send, refused.status, [said(refused.status, refused.reason)], headers)


async def answer(send: Send, status: int, parts: Answer, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """Send JSON in pieces, each of which the client must take in time."""
    length = str(sum(map(len, parts))).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", length), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *(headers or [])]})
    for part in parts:
        for at in range(0, len(part), PIECE):
            await send({"type": "http.response.body", "body": part[at : at + PIECE], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
