"""What client and transport exchange, without the HTTP library: an address, an answer, why there is none."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from paddock.errors import UsageError

CONNECT_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a pipeline API is. `base` is where requests go; `shown` is the same without a password."""

    base: str
    shown: str
    local: bool  # on this machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back to one request, whatever its status."""

    status: int
    reason: str
    content: bytes


class Breakdown(Enum):
    """Where a request ended that got no answer."""

    ABORTED = auto()  # by us
    TLS = auto()
    PROXY = auto()
    CONNECT_TIMEOUT = auto()
    NOT_CONNECTED = auto()
    READ_TIMEOUT = auto()
    CUT = auto()  # the connection broke before the answer was complete


class NoAnswerError(Exception):
    """A request got no answer; `reason` says why in the words of the operating system."""

    def __init__(self, breakdown: Breakdown, reason: str) -> None:
        super().__init__(reason)
        self.breakdown, self.reason = breakdown, reason


def read_url(url: str) -> Address:
    """Return the address that `url` names. Raises UsageError unless it is an HTTP or HTTPS URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise UsageError(f"{url}: not a URL: {wrong}") from wrong
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url}: not the URL of a pipeline API, expected one like http://127.0.0.1:8080")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/")
    return Address(
        base=f"{parts.scheme}://{parts.netloc}{path}",
        shown=f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}",
        local=_is_local(parts.hostname),
    )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
