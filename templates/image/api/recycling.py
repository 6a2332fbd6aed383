"""Has a worker of a site end by itself once it has grown or read enough, and come back: one of them at a time.

A worker that is to end says that it is not ready, takes requests until the door has seen that, finishes what it has,
and ends well; Compose starts it again. Workers agree on whose turn it is through a folder that all of them have.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

FOLDER = Path("/var/lib/workers")
LOOK_EVERY = 2.0  # seconds
TURN_LASTS = 600.0  # seconds, if whoever has it never comes back
Readiness = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
log = logging.getLogger("uvicorn.error")


class Turn:
    """Whose turn it is among the workers: a file with a name, which counts until it is too old."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._file = folder / "turn"
        self._count = folder / f"recycled-{name}"

    @property
    def count(self) -> int:
        """How often this worker was recycled since the site was started."""
        try:
            return int(self._count.read_text("ascii"))
        except (OSError, ValueError):
            return 0

    def take(self) -> bool:
        """Take the turn, or take it again; whether it is ours."""
        with self._alone():
            if self._holder() not in ("", self._name):
                return False
            self._file.write_text(self._name, "ascii")
            return True

    def give_back(self) -> None:
        """Let another one have it, if it is ours."""
        with self._alone():
            if self._holder() == self._name:
                self._file.unlink()

    def note(self) -> None:
        """Count one more time that this worker ends."""
        self._count.write_text(str(self.count + 1), "ascii")

    def _holder(self) -> str:
        try:
            old = time.time() - self._file.stat().st_mtime > TURN_LASTS
            return "" if old else self._file.read_text("ascii")
        except OSError:
            return ""

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Recycling:
    """When this worker is to end. `pages` and `memory` (bytes) are the limits, of which 0 is none.

    `drain` is the number of seconds in which a worker that is to end still takes requests; 0 in a stack without a door.
    """

    def __init__(self, *, memory: int, pages: int, drain: float, turn: Turn | None = None) -> None:
        self._memory = memory
        self._most_pages = pages
        self._drain = drain
        self._turn = turn or Turn(FOLDER, socket.gethostname())
        self.pages = 0  # read since the start
        self.leaving = ""  # why it takes no more, for whoever asks whether it is ready

    @classmethod
    def read(cls) -> Recycling:
        """What the container's environment says."""
        memory, pages, drain = (
            int(os.environ.get(name) or 0) for name in ("API_RECYCLE_MEMORY", "API_RECYCLE_PAGES", "API_DRAIN_SECONDS")
        )
        return cls(memory=memory, pages=pages, drain=drain)

    @property
    def count(self) -> int:
        """How often this worker was recycled since the site was started."""
        return self._turn.count

    def over(self, readiness: Readiness) -> Readiness:
        """The same answer to `GET /health/ready`, unless this worker is to end."""

        async def answer() -> tuple[bool, dict[str, Any]]:
            if self.leaving:
                return False, {"ready": False, "model": "", "reason": self.leaving}
            return await readiness()

        return answer

    async def watch(self, readiness: Readiness, end: Callable[[], None]) -> None:
        """Call `end` once a limit is passed, it is this worker's turn, and the door has seen that it is not ready."""
        if not self._memory and not self._most_pages:
            return
        while not (await readiness())[0]:
            await asyncio.sleep(LOOK_EVERY)
        await asyncio.sleep(2 * self._drain)  # the door has found it and seen that it is ready, before another one goes
        self._turn.give_back()  # it was ours if we are back from it
        await asyncio.sleep(2 * LOOK_EVERY)  # whoever waits for it comes first
        while not (reason := self._reason()) or not self._turn.take():
            await asyncio.sleep(LOOK_EVERY)
        log.info("recycling: %s; it takes no more requests, finishes those that it has, and is started again", reason)
        self.leaving = f"it is being recycled: {reason}"
        await asyncio.sleep(self._drain)
        self._turn.note()
        end()

    def stopped(self, end: Callable[[], None]) -> bool:
        """Have `end` called once the door has seen that this worker is to end; False where it is not waited for."""
        if not self._drain or self.leaving:
            return False
        self.leaving = "it is being stopped"
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain, end)
        return True

    def _reason(self) -> str:
        """Which limit is passed; empty where none is."""
        if self._most_pages and self.pages >= self._most_pages:
            return f"it has read {self.pages} pages (API_RECYCLE_PAGES)"
        if self._memory and (held := memory_held()) >= self._memory:
            return f"it holds {held} bytes of memory (API_RECYCLE_MEMORY)"
        return ""


class Server(uvicorn.Server):
    """uvicorn's server, which ends when it is to be recycled, and waits for the door before it stops listening."""

    def __init__(self, config: uvicorn.Config, recycling: Recycling, readiness: Readiness) -> None:
        super().__init__(config)
        self._recycling = recycling
        self._readiness = readiness

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and watch the limits meanwhile."""
        watching = asyncio.ensure_future(self._recycling.watch(self._readiness, self._end))
        try:
            await super().serve(sockets)
        finally:
            watching.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At SIGTERM: say that this worker is not ready, and end a little later."""
        later = sig == signal.SIGTERM and self._recycling.stopped(lambda: super(Server, self).handle_exit(sig, frame))
        if not later:
            super().handle_exit(sig, frame)

    def _end(self) -> None:
        """Stop listening, finish what was begun, and return."""
        self.should_exit = True


def memory_held() -> int:
    """Bytes that all processes of this container hold in memory."""
    pages = 0
    for file in Path("/proc").glob("[0-9]*/statm"):
        with contextlib.suppress(OSError, IndexError):  # it ended just now
            pages += int(file.read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
