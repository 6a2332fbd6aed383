"""Figures of a worker in Prometheus' form at `GET /metrics`, and the number of pages in a header of each answer.

Names and units are by Prometheus' conventions. The door of a site takes the header away and never publishes the path.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from recycling import Recycling, memory_held
from turns import Request

Operation = Callable[[Request, bytes], Awaitable[list[bytes]]]
App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]
SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600)  # upper ends of the histogram's buckets
KINDS = {401: "key", 408: "slow", 413: "large", 499: "gone", 500: "fault", 503: "busy", 504: "late"}
OTHER = "refused"
request_here: contextvars.ContextVar[list[Request]] = contextvars.ContextVar("request_here")


class Metrics:
    """What is counted, each under its name."""

    def __init__(self, recycling: Recycling) -> None:
        self.registry = CollectorRegistry()
        self._recycling = recycling
        about: dict[str, Any] = {"registry": self.registry, "namespace": "paddock_api"}
        self._requests = Counter("requests", "Requests that were answered.", ["path", "status"], **about)
        self._failures = Counter("failures", "Requests that got no result, by kind.", ["kind"], **about)
        self._pages = Counter("pages", "Pages that were read.", **about)
        self._stages = Histogram(
            "stage_seconds", "Seconds of a request in one stage.", ["stage"], buckets=SECONDS, **about
        )
        self._open = Gauge("open_requests", "Requests that are worked on or wait.", **about)
        memory = Gauge("memory_bytes", "Memory that the worker's processes hold.", **about)
        memory.set_function(memory_held)
        recycled = Counter("recyclings", "Times that this worker was recycled.", **about)
        recycled.inc(recycling.count)

    def counting(self, operations: Mapping[str, Operation]) -> dict[str, Operation]:
        """The operations, which say of each request how many pages it had and what its stages took."""
        return {path: self._counting(operation) for path, operation in operations.items()}

    def around(self, app: App, paths: Mapping[str, Any], *, published: bool) -> App:
        """The application, with `/metrics` unless the port is `published`; requests to `paths` are counted."""

        async def metered(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == "/metrics" and not published:
                await self._show(send)
            elif scope["type"] == "http" and scope["path"] in paths:
                await self._count(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return metered

    def _counting(self, operation: Operation) -> Operation:
        async def counted(request: Request, body: bytes) -> list[bytes]:
            request_here.get([]).append(request)
            return await operation(request, body)

        return counted

    async def _count(self, app: App, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        requests: list[Request] = []
        request_here.set(requests)
        begun, status = time.monotonic(), 0

        async def noting(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                pages = b"%d" % sum(request.pages for request in requests)
                message = {**message, "headers": [*message["headers"], (b"x-pages", pages)]}
            await send(message)

        self._open.inc()
        try:
            await app(scope, receive, noting)
        finally:
            self._open.dec()
            self._requests.labels(scope["path"], status).inc()
            self._stages.labels("whole").observe(time.monotonic() - begun)
            if status != 200:
                self._failures.labels(KINDS.get(status, OTHER)).inc()
            for request in requests:
                self._pages.inc(request.pages)
                self._recycling.pages += request.pages
                for stage, seconds in request.seconds.items():
                    self._stages.labels(stage).observe(seconds)

    async def _show(self, send: Any) -> None:
        shown = generate_latest(self.registry)
        headers = [
            (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
            (b"content-length", b"%d" % len(shown)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": shown})
