"""What client and transport exchange, without the HTTP library: an address, and why there is no answer."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from paddock.errors import UsageError

CONNECT_TIMEOUT = 10.0  # seconds
_PINNED = "sha256="  # before the fingerprint in a URL's fragment
SMALL_ANSWER = 1 << 20  # bytes: the most that is read of every answer but that to a document


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a pipeline API is. `base` is where requests go; `shown` is the same without a password.

    `fingerprint` is the SHA-256 of the one certificate that is trusted there, in hexadecimal; empty where
    certificate authorities decide.
    """

    base: str
    shown: str
    local: bool  # on this machine
    exposed: bool  # what is sent there can be read on its way
    has_password: bool
    fingerprint: str = ""

    @property
    def url(self) -> str:
        """What `read_url` makes this address of."""
        return f"{self.base}#{_PINNED}{self.fingerprint}" if self.fingerprint else self.base


class Breakdown(Enum):
    """Where a request ended that got no answer."""

    ABORTED = auto()  # by us
    NO_ADDRESS = auto()  # the name of the host cannot be one
    TLS = auto()
    PROXY = auto()  # it did not connect, or is none that can be used
    CONNECT_TIMEOUT = auto()
    NOT_CONNECTED = auto()
    READ_TIMEOUT = auto()
    CUT = auto()  # the connection broke before the answer was complete
    UNWANTED = auto()  # compressed, or longer than it may be


class NoAnswerError(Exception):
    """A request got no answer, or none that is read to its end; `reason` says why.

    The words are those of the operating system where it has some.
    """

    def __init__(self, breakdown: Breakdown, reason: str) -> None:
        super().__init__(reason)
        self.breakdown, self.reason = breakdown, reason


def read_url(url: str) -> Address:
    """Return the address that `url` names; `#sha256=HEX` at its end is the certificate that is trusted there.

    Raises UsageError unless it is an HTTP or HTTPS URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise UsageError(f"{url}: not a URL: {wrong}") from wrong
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url}: not the URL of a pipeline API, expected one like http://127.0.0.1:8080")
    fingerprint = parts.fragment.removeprefix(_PINNED).replace(":", "").lower()
    if parts.fragment and (parts.scheme == "http" or not re.fullmatch(r"[0-9a-f]{64}", fingerprint)):
        raise UsageError(
            f"{url}: found #{parts.fragment}, expected the SHA-256 of a certificate such as #{_PINNED}0a1b..."
        )
    local = _is_local(parts.hostname)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/")
    return Address(
        base=f"{parts.scheme}://{parts.netloc}{path}",
        shown=f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}",
        local=local,
        exposed=parts.scheme == "http" and not local,
        has_password=bool(parts.password),
        fingerprint=fingerprint,
    )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
