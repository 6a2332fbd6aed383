"""Tells the site's own services that a job has ended: one signed POST, repeated until it is taken.

JOBS_WEBHOOKS lists the hosts, as ALLOW_URLS does for documents. Redirects are not followed. The body says what
happened, not what the document holds; whoever wants the result asks for it with a key.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
import time
from typing import Any

import aiohttp
from yarl import URL

import database
from database import Database, Row
from limits import Refusal, number
from links import PORTS, Allowed
from signing import hook_signature

WITHIN = 10.0  # seconds for one call
MOST_TRIES = 10  # within 2 h 50 min
FIRST_WAIT = number("JOBS_WEBHOOK_WAIT_SECONDS", 20)  # between the first two tries; each time twice as long
AT_ONCE = 8
log = logging.getLogger("uvicorn.error")


def require(url: str, allowed: Allowed) -> None:
    """Refuse a webhook at a host that is not named."""
    if not allowed.hosts:
        raise Refusal(400, "webhookUrl: this service calls nobody: JOBS_WEBHOOKS names hosts that it may call")
    try:
        allowed.require(url)
    except Refusal as refused:
        told = refused.reason.replace("file:", "webhookUrl:", 1).replace("ALLOW_URLS", "JOBS_WEBHOOKS")
        raise Refusal(400, told) from refused


class Webhooks:
    """Calls what is due."""

    def __init__(self, jobs: Database, allowed: Allowed, key: bytes) -> None:
        self._jobs = jobs
        self._allowed = allowed
        self._key = key

    async def run(self) -> None:
        """Call what is due, until cancelled; after a kill, what was not taken is called again."""
        while True:
            due = await database.patiently(self._due)
            await asyncio.gather(*(self._call(job) for job in due))
            if not due:
                await asyncio.sleep(1)

    async def _due(self) -> list[Row]:
        """Jobs whose webhook this process is to call now; others leave them alone for as long as that may take."""
        return await self._jobs.rows(
            """
            WITH due AS (SELECT id FROM job WHERE hook_due <= now() ORDER BY hook_due LIMIT %(most)s
                         FOR UPDATE SKIP LOCKED)
            UPDATE job j SET hook_tries = hook_tries + 1,
                hook_due = now() + make_interval(secs => %(first)s * 2 ^ hook_tries)
            FROM due WHERE j.id = due.id
            RETURNING j.id, j.state, j.error, j.batch, j.name, j.pages, j.finished_at, j.hook_url, j.hook_tries
            """,
            {"most": AT_ONCE, "first": FIRST_WAIT},
        )

    async def _call(self, job: Row) -> None:
        try:
            status = await asyncio.wait_for(self._post(job), WITHIN)
            trouble = "" if 200 <= status < 300 else f"it was answered with {status}"
        except (Refusal, aiohttp.ClientError, OSError, ValueError, TimeoutError) as wrong:
            trouble = getattr(wrong, "reason", None) or str(wrong) or f"no answer within {WITHIN:.0f} s"
        outcome = "taken" if not trouble else "failed" if job["hook_tries"] >= MOST_TRIES else "again"
        if trouble:
            log.warning("webhook of job %s, try %s of %s: %s", job["id"], job["hook_tries"], MOST_TRIES, trouble)
        if outcome != "again":
            await self._write("UPDATE job SET hook_due = NULL WHERE id = %s", (job["id"],))
        await self._write("SELECT count_up('webhooks', %s, 1)", (outcome,))

    async def _write(self, query: str, values: tuple[Any, ...]) -> None:
        await database.patiently(lambda: self._jobs.rows(query, values))

    async def _post(self, job: Row) -> int:
        url: str = job["hook_url"]
        parts = self._allowed.require(url)
        host = parts.hostname or ""
        address = await self._address(host, parts.port or PORTS[parts.scheme])
        body = json.dumps(told(job), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "Host": parts.netloc,
            "X-Paddock-Delivery": f"{job['id']}-{job['hook_tries']}",
            "X-Paddock-Signature": hook_signature(self._key, int(time.time()), body),
        }
        async with (
            aiohttp.ClientSession(trust_env=False, auto_decompress=False) as session,
            session.post(
                URL(url, encoded=True).with_host(address),
                data=body,
                headers=headers,
                allow_redirects=False,
                server_hostname=host if parts.scheme == "https" else None,
            ) as answer,
        ):
            return answer.status

    async def _address(self, host: str, port: int) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
        if not all(self._allowed.permits(address, host) for address in addresses):
            raise Refusal(400, f"{host} is at a private address, and JOBS_WEBHOOKS does not name its network")
        return str(addresses[0])


def told(job: Row) -> dict[str, Any]:
    """The body of a call."""
    return {
        "jobId": str(job["id"]),
        "batchId": job["batch"],
        "fileName": job["name"],
        "state": "failed" if job["state"] == "cancelled" else job["state"],
        "cancelled": job["state"] == "cancelled",
        "errorMsg": job["error"],
        "totalPages": job["pages"],
        "endTime": job["finished_at"].isoformat(),
    }
