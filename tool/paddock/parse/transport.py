"""The HTTP connection to a pipeline API: sockets that can be shut at once, and reasons for failures."""

from __future__ import annotations

import ipaddress
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import urllib3
from requests.adapters import HTTPAdapter

from paddock.errors import UsageError


class Sockets:
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


class Adapter(HTTPAdapter):
    """requests' transport with connections that register their sockets."""

    def __init__(self, sockets: Sockets) -> None:
        self._pools = _pool_classes(sockets)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - requests' own signature
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:  # noqa: ANN401 - requests' own signature
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pool_classes(sockets: Sockets) -> dict[str, type[urllib3.HTTPConnectionPool]]:
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


def read_url(url: str) -> tuple[str, str, bool]:
    """The URL without a trailing slash, the same without a password for messages, and whether it is this
    machine.
    """
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


def causes_of(failure: BaseException) -> Iterator[BaseException]:
    """An exception and all that it wraps; requests and urllib3 keep them in `args` and `reason`."""
    yield failure
    inside = getattr(failure, "reason", None)
    for value in (*failure.args, inside):
        if isinstance(value, BaseException):
            yield from causes_of(value)


def reason(causes: list[BaseException]) -> str:
    """The operating system's words where there are some, else the innermost exception's."""
    for cause in reversed(causes):
        for inner in (cause, cause.__cause__, cause.__context__):
            if isinstance(inner, OSError) and inner.strerror:
                return inner.strerror
    return str(causes[-1])
