"""Shares a few places among requests so that a long document never holds up a short one.

A place goes to the waiting request that holds the fewest, and of those to the one that was served longest ago. Used for
the pieces of documents that are worked on, for the one thread of Paddle, and for the questions that the VLM server is
asked at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary


@dataclass(eq=False)
class Request:
    """Who asks: one per HTTP request."""

    log_id: str = ""
    over: bool = False  # nobody waits for the answer any more
    pages: int = 0  # that were read for it
    seconds: dict[str, float] = field(default_factory=dict)  # by stage, of all its pieces together

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count what is done within to a stage."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - begun


class Here(threading.local):
    """The request that the running thread works for, else one that nobody sent; PaddleX hands nothing through."""

    request = Request()


here = Here()


@contextlib.contextmanager
def working_for(request: Request) -> Iterator[None]:
    """Say that this thread works for `request`."""
    before, here.request = here.request, request
    try:
        yield
    finally:
        here.request = before


class Turns:
    """`places` places; safe to use from threads and from event loops at the same time."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._lock = threading.Lock()
        self._waiting: dict[Request, deque[Future[None]]] = {}
        self._held: Counter[Request] = Counter()
        self._served: WeakKeyDictionary[Request, int] = WeakKeyDictionary()
        self._turn = 0

    @contextlib.contextmanager
    def held(self, request: Request) -> Iterator[None]:
        """Wait for a place in this thread, and give it back afterwards."""
        self._ask(request).result()
        try:
            yield
        finally:
            self._give_back(request)

    @contextlib.asynccontextmanager
    async def held_in_loop(self, request: Request) -> AsyncIterator[None]:
        """Wait for a place in the running event loop, and give it back afterwards."""
        asked = self._ask(request)
        try:
            await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            if not asked.cancel():  # it was granted meanwhile
                self._give_back(request)
            raise
        try:
            yield
        finally:
            self._give_back(request)

    def _ask(self, request: Request) -> Future[None]:
        asked: Future[None] = Future()
        with self._lock:
            self._waiting.setdefault(request, deque()).append(asked)
        self._grant()
        return asked

    def _give_back(self, request: Request) -> None:
        with self._lock:
            self._free += 1
            self._held[request] -= 1
            if not self._held[request]:
                del self._held[request]
        self._grant()

    def _grant(self) -> None:
        granted = []
        with self._lock:
            while self._free and self._waiting:
                request = min(self._waiting, key=lambda waits: (self._held[waits], self._served.get(waits, 0)))
                queue = self._waiting[request]
                asked = queue.popleft()
                if not queue:
                    del self._waiting[request]
                if not asked.set_running_or_notify_cancel():
                    continue
                self._turn += 1
                self._free -= 1
                self._held[request] += 1
                self._served[request] = self._turn
                granted.append(asked)
        for asked in granted:
            asked.set_result(None)


class Budget:
    """`total` units, such as pixels or bytes, of which requests hold some for a while."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_at_once(self, amount: int) -> bool:
        """Take `amount` if that much is there and nobody waits; whether it was."""
        if self._waiting or amount > self._free:
            return False
        self._free -= amount
        return True

    def give_back(self, amount: int) -> None:
        """Return what was taken; those who wait are served in their order."""
        self._free += amount
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, waits = self._waiting.popleft()
            if not waits.done():
                self._free -= wanted
                waits.set_result(None)

    @contextlib.asynccontextmanager
    async def held(self, amount: int) -> AsyncIterator[None]:
        """Wait for `amount` (the whole, if it is more), and give it back afterwards."""
        amount = min(amount, self._total)
        if not self.take_at_once(amount):
            waits = asyncio.get_running_loop().create_future()
            self._waiting.append((amount, waits))
            try:
                await waits
            except asyncio.CancelledError:
                if waits.cancelled():
                    with contextlib.suppress(ValueError):
                        self._waiting.remove((amount, waits))
                    self.give_back(0)  # whoever waits behind may be served now
                else:  # it was served meanwhile
                    self.give_back(amount)
                raise
        try:
            yield
        finally:
            self.give_back(amount)
