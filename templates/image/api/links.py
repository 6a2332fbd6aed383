"""Fetches a document by its link, from the hosts that ALLOW_URLS names and from nowhere else.

ALLOW_URLS lists HOST or HOST:PORT, and networks such as 10.0.0.0/8 in which a named host may live. A name is resolved
once, and the connection goes to that address; redirects are refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from limits import Refusal

WITHIN = 60.0  # seconds for the whole document
PIECE = 1 << 18  # bytes
PORTS = {"http": 80, "https": 443}
NONE = "this API opens no links: send the document itself as base64. ALLOW_URLS names hosts that it may fetch from"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_link(file: str) -> bool:
    """Whether `file` is a link rather than base64; base64 has no colon."""
    return ":" in file[:32] and not file.startswith("data:")


@dataclass(frozen=True)
class Allowed:
    """What ALLOW_URLS names."""

    hosts: frozenset[tuple[str, int | None]]  # and port; None is the scheme's own
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    @classmethod
    def read(cls, entries: tuple[str, ...]) -> Allowed:
        """From the entries of the variable; ends the program for one that is neither."""
        hosts, networks = set(), []
        for entry in entries:
            if "/" in entry:
                try:
                    networks.append(ipaddress.ip_network(entry, strict=False))
                except ValueError:
                    raise SystemExit(
                        f"ALLOW_URLS: found {entry}, expected HOST, HOST:PORT or a network such as 10.0.0.0/8"
                    ) from None
                continue
            try:
                parts = urlsplit(f"//{entry}")
                host, port = parts.hostname, parts.port
            except ValueError:
                host, port = None, None
            if not host:
                raise SystemExit(f"ALLOW_URLS: found {entry}, expected HOST, HOST:PORT or a network such as 10.0.0.0/8")
            hosts.add((host, port))
        return cls(frozenset(hosts), tuple(networks))

    def require(self, link: str) -> SplitResult:
        """The parts of a link to a named host; raises Refusal for any other."""
        if not self.hosts:
            raise Refusal(422, f"file: found a link; {NONE}")
        try:
            parts = urlsplit(link)
            host, port = parts.hostname or "", parts.port
        except ValueError as wrong:
            raise Refusal(422, f"file: the link cannot be read ({wrong})") from wrong
        if parts.scheme not in PORTS:
            raise Refusal(422, f"file: found a link with {parts.scheme[:20]}:, expected http: or https:")
        if parts.username is not None or parts.password is not None:
            raise Refusal(422, "file: found a link with a user name or password, which is not taken")
        port = port or PORTS[parts.scheme]
        if (host, port) not in self.hosts and not ((host, None) in self.hosts and port == PORTS[parts.scheme]):
            raise Refusal(422, f"file: {host[:80]}:{port} is not among the hosts that ALLOW_URLS names")
        return parts

    def permits(self, address: Address, host: str) -> bool:
        """Whether a named host may be at this address: a public one, one that is named, or in a named network."""
        mapped = getattr(address, "ipv4_mapped", None) or address
        if str(mapped) == host or any(
            mapped in network for network in self.networks if network.version == mapped.version
        ):
            return True
        return bool(mapped.is_global) and not mapped.is_multicast


async def fetch(link: str, allowed: Allowed, most: int) -> bytes:
    """The document behind a link, of at most `most` bytes; raises Refusal with what stood against it."""
    parts = allowed.require(link)
    try:
        return await asyncio.wait_for(_fetch(link, parts, allowed, most), WITHIN)
    except asyncio.TimeoutError:  # noqa: UP041 - two until Python 3.10
        raise Refusal(422, f"file: the link gave no whole document within {WITHIN:.0f} s") from None


async def _fetch(link: str, parts: SplitResult, allowed: Allowed, most: int) -> bytes:
    import aiohttp
    from yarl import URL

    host = parts.hostname or ""
    resolver = _once(aiohttp, await _address(host, parts.port or PORTS[parts.scheme], allowed))
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False) as session,
            session.get(
                URL(link, encoded=True), allow_redirects=False, headers={"Accept-Encoding": "identity"}
            ) as answer,
        ):
            if answer.status != 200:
                raise Refusal(
                    422, f"file: the link was answered with {answer.status}, expected 200; redirects are not followed"
                )
            data = bytearray()
            async for piece in answer.content.iter_chunked(PIECE):
                data += piece
                if len(data) > most:
                    raise Refusal(413, f"file: the link leads to more than {most} bytes (API_MAX_BYTES)")
            return bytes(data)
    except (aiohttp.ClientError, OSError, ValueError) as wrong:
        raise Refusal(422, f"file: the link cannot be fetched ({type(wrong).__name__})") from wrong


async def _address(host: str, port: int, allowed: Allowed) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as wrong:
        raise Refusal(422, f"file: {host[:80]} has no address ({wrong.strerror})") from wrong
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    if not all(allowed.permits(address, host) for address in addresses):
        raise Refusal(
            422,
            f"file: {host[:80]} is at a private address, and ALLOW_URLS does not name its network",
        )
    return str(addresses[0])


def _once(aiohttp: Any, address: str) -> Any:
    """A resolver that knows this one address."""

    class Once(aiohttp.abc.AbstractResolver):  # type: ignore[misc] # not known here
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:  # noqa: ARG002
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            return [
                {
                    "hostname": host,
                    "host": address,
                    "port": port,
                    "family": kind,
                    "proto": 0,
                    "flags": socket.AI_NUMERICHOST,
                }
            ]

        async def close(self) -> None:
            return

    return Once()
