"""Serves the door with uvicorn, and closes connections that say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_WITHIN = 15.0  # seconds from the first byte of a request to the last of its headers
MOST_CONNECTIONS = 1024


class Connections(H11Protocol):
    """uvicorn's connections, with a limit to their number and to the time that the headers of a request may take.

    uvicorn closes connections that are idle between requests and has no other limit of time.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.server_state.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEADER_WITHIN, self.transport.abort)

    def _stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


async def serve(
    app: Any, port: int = 8080, serving: Callable[[uvicorn.Config], uvicorn.Server] = uvicorn.Server
) -> None:
    """Serve until SIGTERM, or until `serving` is to end by itself."""
    config = uvicorn.Config(
        app,
        host="0.0.0.0",  # noqa: S104 - of the container; Compose says where it is published
        port=port,
        log_level="info",
        http=Connections,
        lifespan="off",
        ws="none",
        server_header=False,
    )
    await serving(config).serve()
