"""A worker: takes tasks under leases, has them done, and writes down what came of it under the same lease.

What it does is written down only while its lease holds (task, owner and epoch), so a task that two have begun still
ends once. A thread of its own renews the leases; when it cannot, all work is dropped well before anybody may take it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

import database
from database import Database, Row
from failures import Away, GiveUp, TaskFailed
from limits import number

LEASE = float(number("JOBS_LEASE_SECONDS", 16))  # by the database's clock
BEAT = LEASE / 4
FENCE = LEASE * 0.6  # seconds without a renewal after which everything is dropped
STEP = "2 s"  # how far each part of a job after the fourth steps back in the queue
FIRST_PARTS = 3  # the highest number of a part that a reserved place takes
MOST_TRIES, MOST_DEATHS = 5, 3
LONGEST_WAIT = 60.0  # seconds between two tries
PATIENCE = 24 * 3600.0  # seconds that a task waits for a pipeline API
LONGEST_REASON = 500  # characters
PAUSE_WITH_WRONG_SCHEMA = 10.0  # seconds until the next start finds out whether it still is
log = logging.getLogger("uvicorn.error")


class Work(Protocol):
    """What is to be done for the three kinds of tasks; raises a TaskFailed."""

    async def split(self, task: Row) -> tuple[int, int]:
        """How many pages the job has, and how many a part."""

    async def read(self, task: Row) -> str:
        """The key of the part with the task's pages."""

    async def join(self, task: Row, parts: list[str]) -> str:
        """The folder of the result."""

    async def ended(self, job: uuid.UUID) -> None:
        """The job needs its parts no more."""


@dataclass(frozen=True)
class Held:
    """A task that this worker has a lease for."""

    epoch: int
    job: str
    doing: asyncio.Task[None]


class Worker:
    """One process's worth of work: `slots` tasks at once, of which `reserved` are only a job's first parts.

    A `solo` worker takes only tasks with which twice something died, one at a time.
    """

    def __init__(self, work: Work, *, slots: int, reserved: int, solo: bool, grace: float) -> None:
        self._work = work
        self._slots, self._reserved = (1, 0) if solo else (slots, reserved)
        self._solo = solo
        self._grace = grace
        self._me = uuid.uuid4()
        self._held: dict[int, Held] = {}
        self._database = Database(2)
        self._wake = asyncio.Event()
        self._stopping = False
        self._fenced = False
        self._renewed = _clock()

    async def run(self) -> None:
        """Work until SIGTERM, then finish what can be finished in time and give back the rest."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        opening = asyncio.ensure_future(self._database.open())
        while not opening.done():
            if self._stopping:
                return
            await asyncio.wait({opening}, timeout=0.2)
        opening.result()
        threading.Thread(target=self._beats, args=(loop,), daemon=True).start()
        channels = {"task_ready": lambda _: self._wake.set(), "job_cancelled": self._cancelled}
        beside = [asyncio.ensure_future(task) for task in (database.listen(channels), self._reap(), self._fence())]
        while not self._stopping:
            await self._take()
        end = _clock() + self._grace  # leases are renewed meanwhile
        while self._held and _clock() < end:
            await asyncio.sleep(0.1)
        self._drop(list(self._held), "this worker ends")
        await asyncio.sleep(0.05)
        await self._write("SELECT release_tasks(%s)", (self._me,), always=True)
        for task in beside:
            task.cancel()

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def _take(self) -> None:
        free = 0 if self._fenced else self._slots - len(self._held)
        self._wake.clear()
        anything = max(0, free - self._reserved)
        taken = 0
        for wanted, most_seq in ((anything, None), (free - anything, FIRST_PARTS)):
            for task in await self._claim(wanted, most_seq) if wanted else ():
                doing = asyncio.ensure_future(self._do(task))
                self._held[task["id"]] = Held(task["epoch"], str(task["job_id"]), doing)
                taken += 1
        if not taken:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), random.uniform(0.8, 1.2))  # noqa: S311 - it only spreads

    async def _claim(self, wanted: int, most_seq: int | None) -> list[Row]:
        try:
            return await self._database.rows(
                "SELECT * FROM claim_tasks(%s, %s, %s, %s, %s)", (self._me, wanted, f"{LEASE} s", most_seq, self._solo)
            )
        except database.AWAY:
            await asyncio.sleep(0.3)
            return []  # what was claimed and not told is not renewed, so it runs out

    async def _do(self, task: Row) -> None:
        lease = (task["job_id"], task["id"], self._me, task["epoch"])
        try:
            await self._done(task, lease)
        except asyncio.CancelledError:
            pass  # lost, cancelled or given back
        except Exception as wrong:
            if not isinstance(wrong, TaskFailed):
                log.exception("job %s: unexpected failure", task["job_id"])
            kind = wrong.kind if isinstance(wrong, TaskFailed) else "internal"
            reason = (str(wrong) or repr(wrong))[:LONGEST_REASON].replace("\0", "\ufffd")
            await self._write(
                "SELECT task_failed(%s, %s, %s, %s, %s, %s, %s)",
                (*lease, reason, kind, again(wrong, task["tries"], task["away_for"])),
                always=True,
            )
        finally:
            held = self._held.get(task["id"])
            if held is not None and held.epoch == task["epoch"]:
                del self._held[task["id"]]
            self._wake.set()

    async def _done(self, task: Row, lease: tuple[Any, ...]) -> None:
        if task["kind"] == "split":
            pages, per_part = await self._work.split(task)
            await self._write("SELECT split_done(%s, %s, %s, %s, %s, %s, %s)", (*lease, pages, per_part, STEP))
        elif task["kind"] == "range":
            part = await self._work.read(task)
            await self._write("SELECT range_done(%s, %s, %s, %s, %s)", (*lease, part))
        else:
            parts = await self._write(
                "SELECT part FROM task WHERE job_id = %s AND kind = 'range' ORDER BY seq", (task["job_id"],)
            )
            result = await self._work.join(task, [row["part"] for row in parts])
            await self._write("SELECT join_done(%s, %s, %s, %s, %s)", (*lease, result))
            await self._work.ended(task["job_id"])

    async def _write(self, query: str, values: tuple[Any, ...], *, always: bool = False) -> list[Row]:
        return await database.patiently(
            lambda: self._database.rows(query, values), until=lambda: self._fenced and not always
        )

    # --- leases -----------------------------------------------------------------------------------------------

    def _beats(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread, with a connection of its own: neither a busy loop nor a full pool may cost a lease."""
        connection = None
        while True:
            asked = _clock()
            try:
                if connection is None:
                    connection = database.connect("-c statement_timeout=4000")
                held = {task: lease.epoch for task, lease in list(self._held.items())}
                ours = dict(
                    connection.execute(
                        "SELECT id, epoch FROM renew_leases(%s, %s, %s)", (self._me, list(held), f"{LEASE} s")
                    ).fetchall()
                )
                if self._fenced:  # what was dropped goes back without blame
                    connection.execute("SELECT release_tasks(%s)", (self._me,))
                self._renewed, self._fenced = asked, False  # from before the question left
                lost = [task for task, epoch in held.items() if ours.get(task) != epoch]
                if lost:
                    loop.call_soon_threadsafe(self._drop, lost, "the lease is lost, or the job was cancelled")
            except (psycopg.Error, OSError) as wrong:
                log.warning("leases are not renewed: %s", wrong)
                if connection is not None:
                    connection.close()
                connection = None
            time.sleep(BEAT if connection else LEASE / 32)

    async def _fence(self) -> None:
        """Not in the thread that renews: that one may hang in a dead connection."""
        while True:
            await asyncio.sleep(LEASE / 32)
            if _clock() - self._renewed > FENCE:
                self._fenced = True
                self._drop(list(self._held), "its lease cannot be renewed")

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(BEAT * random.uniform(0.8, 1.2))  # noqa: S311 - it only spreads
            for row in await self._write(
                "SELECT task_id, verdict FROM reap_tasks(%s, %s)", (f"{LEASE} s", MOST_DEATHS), always=True
            ):
                log.warning("task %s of a dead worker: %s", row["task_id"], row["verdict"])

    def _cancelled(self, job: str) -> None:
        self._drop([task for task, lease in self._held.items() if lease.job == job], "the job was cancelled")

    def _drop(self, tasks: Iterable[int], why: str) -> None:
        for task in tasks:
            if task in self._held:
                log.warning("task %s is dropped: %s", task, why)
                self._held[task].doing.cancel()


def again(wrong: Exception, tries: int, away_for: float) -> str | None:
    """In how long a task is tried again, as an interval; None: not any more."""
    after = wrong.after if isinstance(wrong, TaskFailed) else 0.0
    if isinstance(wrong, Away):
        after = max(after, min(LONGEST_WAIT, away_for / 4))
        return None if away_for > PATIENCE else f"{after * random.uniform(1, 1.3):.2f} s"  # noqa: S311 - it only spreads
    if isinstance(wrong, GiveUp) or tries >= MOST_TRIES:
        return None
    return f"{max(after, min(LONGEST_WAIT, 2.0**tries))} s"


def _clock() -> float:
    """Unlike the monotonic clock it goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def start(running: Coroutine[Any, Any, None]) -> None:
    """Run a worker as this process, which then ends at once, whatever its threads do."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    status = 0
    try:
        asyncio.run(running)
    except database.WrongSchema as wrong:
        log.error("%s", wrong)
        time.sleep(PAUSE_WITH_WRONG_SCHEMA)
        status = 1
    logging.shutdown()
    os._exit(status)
