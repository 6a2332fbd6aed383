"""Removes what is past its time: jobs that ended JOBS_KEEP_DAYS ago, and files that no job names.

Rows go first and files after, so that a file without a row is garbage once it is older than any upload or task.
"""

from __future__ import annotations

import asyncio
import logging

import database
from blobs import Blobs
from database import Database

EVERY = 300.0  # seconds
AGE = 24 * 3600.0  # seconds after which a file that no job names is removed
BATCH = 500
NAMED = {  # the keys, of those given, that a job names
    "documents": "SELECT document AS key FROM job WHERE document = ANY(%s)",
    "parts": "SELECT 'parts/' || id AS key FROM job WHERE state IN ('pending', 'running') AND 'parts/' || id = ANY(%s)",
    "results": "SELECT result AS key FROM job WHERE result = ANY(%s)",
}
log = logging.getLogger("uvicorn.error")


class Tidying:
    """Old jobs, and what is left over."""

    def __init__(self, jobs: Database, blobs: Blobs, keep_days: int, *, age: float = AGE) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._keep_days = keep_days
        self._age = age

    async def run(self) -> None:
        """Tidy now and then, until cancelled."""
        while True:
            try:
                await self.once()
            except (*database.AWAY, OSError) as wrong:
                log.warning("tidying: %s", wrong)
            await asyncio.sleep(EVERY)

    async def once(self) -> int:
        """The number of files and folders removed."""
        removed = 0
        while True:
            ended = await self._jobs.rows(
                """
                WITH old AS (SELECT id FROM job WHERE finished_at < now() - make_interval(days => %s)
                             ORDER BY finished_at LIMIT %s FOR UPDATE SKIP LOCKED)
                DELETE FROM job j USING old WHERE j.id = old.id RETURNING j.id, j.document, j.result
                """,
                (self._keep_days, BATCH),
            )
            for job in ended:
                removed += await asyncio.to_thread(self.remove, job)
            if len(ended) < BATCH:
                break
        for folder, query in NAMED.items():
            keys = await asyncio.to_thread(self._blobs.older, folder, self._age)
            for at in range(0, len(keys), BATCH):
                batch = keys[at : at + BATCH]
                named = {row["key"] for row in await self._jobs.rows(query, (batch,))}
                for key in set(batch) - named:
                    await asyncio.to_thread(self._blobs.remove, key)
                    removed += 1
        return removed

    def remove(self, job: database.Row) -> int:
        """Remove the files of a job whose row is gone; how many keys it had."""
        keys = [key for key in (job["document"], f"parts/{job['id']}", job["result"]) if key]
        for key in keys:
            self._blobs.remove(key)
        return len(keys)
