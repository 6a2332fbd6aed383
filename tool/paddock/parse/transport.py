"""HTTP requests to a pipeline API: connections that can be ended at once, and the reasons for failures.

Loads requests, which takes a fifth of a second: a client imports this module when it is made.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from paddock.errors import causes
from paddock.parse.connection import CONNECT_TIMEOUT, Address, Answer, Breakdown, NoAnswerError


class Transport:
    """Requests to the API at `address`, each on a connection of its own.

    A parse takes seconds, and a connection that is kept may be closed by the API just as the next request is
    sent. Proxies of the environment are used, except for an API on this machine.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._sockets = _Sockets()

    @property
    def aborted(self) -> threading.Event:
        """Set once `abort` was called."""
        return self._sockets.aborted

    def abort(self) -> None:
        """End every request under way, in whatever thread, and every later one."""
        self._sockets.abort()

    def send(self, method: str, path: str, *, timeout: float, body: Iterable[bytes] | None = None) -> Answer:
        """Send one request and return its answer. Raises NoAnswerError when none comes within `timeout`."""
        try:
            response = self._send(method, path, timeout, body)
        except requests.RequestException as failure:
            if self.aborted.is_set():
                raise NoAnswerError(Breakdown.ABORTED, "interrupted") from failure
            raise _no_answer(failure) from failure
        return Answer(status=response.status_code, reason=response.reason or "", content=response.content)

    def _send(
        self, method: str, path: str, timeout: float, body: Iterable[bytes] | None
    ) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = not self._address.local
            session.mount("http://", _Adapter(self._sockets))
            session.mount("https://", _Adapter(self._sockets))
            return session.request(
                method,
                self._address.base + path,
                data=body,
                headers={"Connection": "close", "Content-Type": "application/json"},
                timeout=(CONNECT_TIMEOUT, timeout),
                allow_redirects=False,
            )


class _Sockets:
    """The open connections of a transport, so that `abort` can end a wait in another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.aborted = threading.Event()

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        if self.aborted.is_set():
            _shut_down(connection)

    def abort(self) -> None:
        self.aborted.set()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _shut_down(connection)


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)  # unlike close, this wakes a thread that reads from it
    except OSError:
        return  # it ended by itself


class _Adapter(HTTPAdapter):
    """requests' adapter with connections that register their sockets."""

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


def _no_answer(failure: requests.RequestException) -> NoAnswerError:
    chain = list(causes(failure))
    return NoAnswerError(_breakdown(failure, chain), _reason(chain))


def _breakdown(failure: requests.RequestException, chain: Sequence[BaseException]) -> Breakdown:
    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    if among(requests.exceptions.SSLError):
        return Breakdown.TLS
    if isinstance(failure, requests.exceptions.ProxyError):
        return Breakdown.PROXY
    if isinstance(failure, requests.exceptions.ConnectTimeout):
        return Breakdown.CONNECT_TIMEOUT
    if among(NewConnectionError):
        return Breakdown.NOT_CONNECTED
    if among(TimeoutError, ReadTimeoutError, requests.ReadTimeout):
        return Breakdown.READ_TIMEOUT
    return Breakdown.CUT


def _reason(chain: Sequence[BaseException]) -> str:
    """Return the operating system's words where there are some, else those of the innermost exception."""
    for cause in reversed(chain):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return str(chain[-1])
