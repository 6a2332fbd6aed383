"""HTTP requests to a pipeline API: bounded in time and size, ended at once on request, and why they failed.

This is the only place where answers of a pipeline API are read. Loads requests, which takes a fifth of a
second: who needs it imports this module when it is needed.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ReadTimeoutError

from paddock.errors import causes
from paddock.parse.connection import CONNECT_TIMEOUT, SMALL_ANSWER, Address, Breakdown, NoAnswerError
from paddock.parse.problems import JUDGED, JUDGED_BY_API

_CHUNK = 1 << 18  # bytes read at a time

logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # it logs what servers send; we report what matters


class Answer:
    """What comes back to one request, whatever its status; it is read while it arrives.

    Reading raises NoAnswerError when the connection breaks, the time is over, or it passes `limit` bytes.
    """

    def __init__(self, response: requests.Response, call: _Call, limit: int) -> None:
        self.status = response.status_code
        self.reason = response.reason or ""
        self.retry_after = response.headers.get("Retry-After", "")
        self.judged = response.headers.get(JUDGED) == JUDGED_BY_API
        self._raw, self._call, self._limit, self._size = response.raw, call, limit, 0

    def read(self, size: int = _CHUNK) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        try:
            piece: bytes = self._raw.read(min(size, _CHUNK), decode_content=False)
        except (HTTPError, OSError) as failure:
            raise self._call.no_answer(failure) from failure
        if not piece:
            self._call.require_time()  # the end may be ours: a connection that is shut down just ends
        self._size += len(piece)
        if self._size > self._limit:
            raise NoAnswerError(Breakdown.UNWANTED, f"found more than {self._limit:,} bytes")
        return piece

    def whole(self) -> bytes:
        """Return all of it, if it is small."""
        self._limit = min(self._limit, SMALL_ANSWER)
        return b"".join(iter(self.read, b""))


class Transport:
    """Requests to the API at `address`, each on a connection of its own.

    A parse takes seconds, and a connection that is kept may be closed by the API just as the next request is
    sent. Proxies of the environment are used with `proxies`, except for an API on this machine. `key` goes
    with every request. Raises NoAnswerError for a proxy of the environment that cannot be used.
    """

    def __init__(self, address: Address, *, key: str = "", proxies: bool = True) -> None:
        self._address, self._key = address, key
        self._environment = proxies and not address.local
        if self._environment:
            _require_usable(select_proxy(address.base, get_environ_proxies(address.base)))
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self.aborted = threading.Event()  # set once `abort` was called

    def abort(self) -> None:
        """End every request under way, in whatever thread, and every later one."""
        self.aborted.set()
        with self._lock:
            for call in self._calls:
                call.end()

    @contextmanager
    def send(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        body: Iterable[bytes] | None = None,
        limit: int = SMALL_ANSWER,
    ) -> Iterator[Answer]:
        """Send one request and yield its answer of at most `limit` bytes.

        `timeout` is for everything, from connecting to the last byte. Raises NoAnswerError when there is no
        answer within it.
        """
        call = _Call(self.aborted, timeout)
        with self._lock:
            self._calls.add(call)
        try:
            with (
                call.limited(),
                _Session() as session,
                self._response(session, call, method, path, body) as response,
            ):
                if response.headers.get("Content-Encoding"):
                    raise NoAnswerError(Breakdown.UNWANTED, "found it compressed, unasked")
                yield Answer(response, call, limit)
        finally:
            with self._lock:
                self._calls.discard(call)

    def _response(
        self, session: requests.Session, call: _Call, method: str, path: str, body: Iterable[bytes] | None
    ) -> requests.Response:
        session.trust_env = self._environment
        session.mount("http://", _Adapter(call))
        session.mount("https://", _Adapter(call, self._address.fingerprint))
        headers = {"Connection": "close", "Content-Type": "application/json", "Accept-Encoding": "identity"}
        try:
            return session.request(
                method,
                self._address.base + path,
                data=body,
                headers=headers,
                auth=_Bearer(self._key) if self._key else None,
                timeout=(min(CONNECT_TIMEOUT, call.left()), call.left()),
                allow_redirects=False,
                verify=not self._address.fingerprint,  # one certificate is trusted, whoever signed it
                stream=True,
            )
        except (requests.RequestException, HTTPError, OSError) as failure:
            raise call.no_answer(failure) from failure


class _Session(requests.Session):
    """A session without redirects: to tell where one leads, requests would read all of its body."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - requests' own signature
        return None


class _Bearer(requests.auth.AuthBase):
    """Sends the key; unlike a header of ours, requests does not put a password of ~/.netrc in its place."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class _Call:
    """One request with its connections, which are shut down when its time is over or it is aborted."""

    def __init__(self, aborted: threading.Event, timeout: float) -> None:
        self._aborted = aborted
        self._until = time.monotonic() + min(timeout, threading.TIMEOUT_MAX / 2)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._ended = False

    def left(self) -> float:
        """Seconds until the time is over, a little more than none."""
        return max(self._until - time.monotonic(), 0.001)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """End the call when its time is over: a byte now and then keeps nobody waiting longer."""
        timer = threading.Timer(self.left(), self.end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                for connection in self._open:
                    connection.close()
                self._open.clear()

    def add(self, connection: socket.socket) -> None:
        """Take a connection that was just made; TLS and proxies come later, on the same one."""
        with self._lock:
            self._open.append(connection.dup())
        if self._ended or self._aborted.is_set():
            self.end()

    def end(self) -> None:
        """Shut its connections down, which wakes whoever reads or writes there; closing would not."""
        self._ended = True
        with self._lock:
            for connection in self._open:
                with suppress(OSError):  # it ended by itself
                    connection.shutdown(socket.SHUT_RDWR)

    def require_time(self) -> None:
        """Raise NoAnswerError where the call was ended by us."""
        if self._aborted.is_set():
            raise NoAnswerError(Breakdown.ABORTED, "interrupted")
        if time.monotonic() >= self._until:
            raise NoAnswerError(Breakdown.READ_TIMEOUT, "the time is over")

    def no_answer(self, failure: Exception) -> NoAnswerError:
        """Why there is no answer, after `failure`."""
        try:
            self.require_time()
        except NoAnswerError as ended:
            return ended
        chain = list(causes(failure))
        return NoAnswerError(_breakdown(failure, chain), _reason(chain))


class _Adapter(HTTPAdapter):
    """requests' adapter with connections that their call can shut down."""

    def __init__(self, call: _Call, fingerprint: str = "") -> None:
        self._pools = _pool_classes(call)
        self._trusted = {"assert_fingerprint": fingerprint} if fingerprint else {}
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - requests' own signature
        super().init_poolmanager(*arguments, **(options | self._trusted))
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:  # noqa: ANN401 - requests' own signature
        manager = super().proxy_manager_for(proxy, **(options | self._trusted))
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pool_classes(call: _Call) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    class PlainConnection(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            connection = super()._new_conn()
            call.add(connection)
            return connection

        def send(self, data: Any) -> None:  # noqa: ANN401 - http.client's own signature
            try:
                super().send(data)
            except ConnectionResetError as reset:  # it has answered and wants no more of the body;
                raise BrokenPipeError from reset  # after this one, urllib3 reads the answer

    class TlsConnection(PlainConnection, urllib3.connection.HTTPSConnection): ...

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": PlainPool, "https": TlsPool}


def _require_usable(proxy: str | None) -> None:
    """Raise NoAnswerError unless the proxy of the environment is an HTTP proxy, as far as its address says.

    requests takes SOCKS proxies with a package of its own, which paddock does not have, and then over
    connections that nobody could shut down.
    """
    if not proxy:
        return
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise NoAnswerError(Breakdown.PROXY, "its address is not a URL") from None
    if not known:
        where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # without a password
        raise NoAnswerError(
            Breakdown.PROXY, f"found {where}, expected an HTTP proxy such as http://host:3128"
        )


# In this order: what a proxy cannot do comes before what an address cannot be.
_BY_FAILURE: dict[Breakdown, tuple[type[Exception], ...]] = {
    Breakdown.PROXY: (requests.exceptions.ProxyError, requests.exceptions.InvalidProxyURL),
    Breakdown.NO_ADDRESS: (requests.exceptions.InvalidURL, LocationValueError),
    Breakdown.CONNECT_TIMEOUT: (requests.exceptions.ConnectTimeout,),
}


def _breakdown(failure: Exception, chain: Sequence[BaseException]) -> Breakdown:
    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    if among(requests.exceptions.SSLError):
        return Breakdown.TLS
    for breakdown, kinds in _BY_FAILURE.items():
        if isinstance(failure, kinds):
            return breakdown
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
