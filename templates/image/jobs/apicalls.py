"""Asks the pipeline APIs of the site, at each of which as few calls are open as can be.

The name of the service has the addresses of all of its replicas, which may come and go. Every call has a connection of
its own: one that ends without an answer means that the API ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from failures import Away, GiveUp, Killed, TaskFailed, Unanswered
from limits import number

CONNECT_WITHIN = 5.0  # seconds
MARGIN = 60.0  # seconds that a call may take beyond API_MAX_SECONDS
BUSY = 5.0  # seconds to wait where the answer does not say
LONGEST_WAIT = 60.0  # seconds
KEEP = 400  # characters of a reason


class Apis:
    """The replicas behind JOBS_API_URL."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._scheme = parts.scheme
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._open: Counter[str] = Counter()  # calls, by address
        self._timeout = aiohttp.ClientTimeout(
            total=number("API_MAX_SECONDS", 3600) + MARGIN, sock_connect=CONNECT_WITHIN
        )

    async def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The `result` of an answer; raises a TaskFailed that says what it means for the task."""
        async with self._address() as address:
            try:
                async with (
                    aiohttp.ClientSession(
                        connector=aiohttp.TCPConnector(force_close=True), timeout=self._timeout, trust_env=False
                    ) as session,
                    session.post(
                        f"{self._scheme}://{address}:{self._port}{path}",
                        data=io.BytesIO(json.dumps(body).encode()),
                        headers={**self._headers, "Content-Type": "application/json", "Host": self._host},
                        allow_redirects=False,
                        expect100=True,  # one that refuses does not read: its answer would be lost in a broken pipe
                    ) as answer,
                ):
                    read = await answer.read()
                    if answer.status == 200:
                        return _result(read)
                    raise meaning(answer.status, _reason(read), answer.headers.get("Retry-After", ""))
            except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as wrong:
                raise Away(f"the pipeline API cannot be reached ({wrong})", after=1) from wrong
            except TimeoutError as wrong:
                raise Unanswered(f"the pipeline API gave no answer within {self._timeout.total:.0f} s") from wrong
            except (aiohttp.ClientError, OSError) as wrong:
                raise Killed("the pipeline API ended while it read these pages", after=1) from wrong

    @contextlib.asynccontextmanager
    async def _address(self) -> AsyncIterator[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as wrong:
            raise Away(f"no pipeline API runs: {self._host} has no address", after=1) from wrong
        addresses = sorted({str(entry[4][0]) for entry in found if entry[0] == socket.AF_INET})
        if not addresses:
            raise Away(f"no pipeline API runs: {self._host} has no IPv4 address", after=1)
        random.shuffle(addresses)
        chosen = min(addresses, key=lambda address: self._open[address])
        self._open[chosen] += 1
        try:
            yield chosen
        finally:
            self._open[chosen] -= 1
            if not self._open[chosen]:
                del self._open[chosen]


def apis() -> Apis:
    """Those that the environment names."""
    return Apis(os.environ.get("JOBS_API_URL", "http://api:8080"), os.environ.get("JOBS_API_KEY", ""))


def meaning(status: int, reason: str, retry_after: str) -> TaskFailed:
    """What an answer without a result means for the task."""
    told = f"the pipeline API answered {status}: {reason[:KEEP]}"
    if status in (429, 502, 503):
        wait = float(retry_after) if retry_after.isdigit() else BUSY
        return Away(told, after=min(wait, LONGEST_WAIT))
    if status in (401, 403):
        return Away(f"{told}: the key of the jobs service is not known there (JOBS_API_KEY)", after=LONGEST_WAIT)
    if 400 <= status < 500 and status != 408:
        return GiveUp(reason[:KEEP])
    return Unanswered(told)


def _result(read: bytes) -> dict[str, Any]:
    try:
        result = json.loads(read)["result"]
    except (ValueError, LookupError, TypeError):
        result = None
    if not isinstance(result, dict) or not isinstance(result.get("layoutParsingResults"), list):
        raise Unanswered("the pipeline API gave an answer without pages")
    return result


def _reason(read: bytes) -> str:
    try:
        return str(json.loads(read)["errorMsg"])
    except (ValueError, LookupError, TypeError):
        return read[:KEEP].decode("utf-8", "replace").strip() or "nothing more"
