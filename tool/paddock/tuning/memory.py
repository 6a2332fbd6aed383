"""The arithmetic of a card's memory: how it is divided, and which share of it a server is given, in GiB.

A card holds the layout model (where it shares the card), a reserve, the server's program, its weights, the
working memory of one step and the KV cache. Nothing here knows options or where a figure comes from:
`paddock.tuning.sizing` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from paddock.matrix.records import Counts, Footprint

GIB = 2**30
RESERVE = 0.05  # of the memory: a display, the driver, fragmentation
STEP = 0.05  # shares are multiples of it
LEAST_BATCH = 2048  # tokens of one step; the largest image has 1280
_TINY = 1e-9  # so that 0.7 is not rounded to 0.65


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Where the memory of a card goes."""

    memory: float
    layout: float
    reserve: float
    program: float
    weights: float
    batch: float
    kv: float

    @property
    def server(self) -> float:
        """All that the server takes."""
        return self.program + self.weights + self.batch + self.kv

    @property
    def usable(self) -> float:
        """All that it can take: what the layout model and the reserve leave."""
        return self.memory - self.layout - self.reserve

    def __str__(self) -> str:
        return f"{self.memory:g} GiB: {self.parts()}"

    def parts(self) -> str:
        """What the memory goes to, in words."""
        parts = {
            "layout model": self.layout,
            "reserve": self.reserve,
            "program": self.program,
            "weights": self.weights,
            "one step": self.batch,
            "KV cache": self.kv,
        }
        return ", ".join(f"{name} {size:.1f}" for name, size in parts.items() if size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One card, and what is to work on it.

    `layout` is the layout model's, 0 where it does not share the card. `counts` says what the server's share
    covers; None for a server without a share, which takes what it needs. `published_share` is a vendor's.
    """

    memory: float
    layout: float
    program: float
    footprint: Footprint
    counts: Counts | None
    published_share: float | None = None

    def kv(self, tokens: float) -> float:
        """The KV cache of that many tokens."""
        return tokens * self.footprint.kv_per_token / GIB

    def room(self, batch: float) -> Room:
        """How the card is divided with steps of `batch` tokens; the KV cache gets all that is left.

        What is lost when the share is rounded down counts as reserve.
        """
        step = batch * self.footprint.batch_per_token / GIB
        usable = self.memory * (1 - RESERVE) - self.layout
        if self.counts is not None:
            uncovered = self._uncovered(step)
            share = _down((usable - uncovered) / self.memory)
            if self.published_share is not None:
                share = min(share, self.published_share)
            usable = share * self.memory + uncovered
        return Room(
            memory=self.memory,
            layout=self.layout,
            reserve=self.memory - self.layout - usable,
            program=self.program,
            weights=self.footprint.weights,
            batch=step,
            kv=usable - self.program - self.footprint.weights - step,
        )

    def roomiest(self, batch: float, context: int) -> Room:
        """The room with the largest step from `batch` downwards, by halves, that lets one full context in.

        Where none does, that of the smallest step, whose KV cache is too small.
        """
        room = self.room(batch)
        while room.kv < self.kv(context) and batch > LEAST_BATCH:
            batch /= 2
            room = self.room(batch)
        return room

    def least_memory(self, context: int) -> int:
        """The least whole GiB with room for one full context; it exists, as room grows with the memory."""
        memory = math.ceil(self.memory)
        while replace(self, memory=memory).room(LEAST_BATCH).kv < self.kv(context):
            memory += 1
        return memory

    def covered(self, room: Room) -> float:
        """What the server's share has to cover in that room."""
        return room.server - self._uncovered(room.batch)

    def share(self, room: Room) -> float:
        """The share for that room, rounded up, but not above `largest_share`."""
        return min(_up(self.covered(room) / self.memory), self.largest_share(room))

    def largest_share(self, room: Room) -> float:
        """The largest share that leaves the others on the card what they take."""
        return _down((room.usable - self._uncovered(room.batch)) / self.memory)

    def published_fits(self, room: Room) -> bool:
        """Whether there is a published share, and it is not above `largest_share`."""
        return self.published_share is not None and self.published_share <= self.largest_share(room) + _TINY

    def _uncovered(self, step: float) -> float:
        """What the server takes beside its share; below zero where the share covers others, too."""
        if self.counts is Counts.STATIC:
            return self.program + step
        return -self.layout if self.counts is Counts.CARD else 0.0


def _up(share: float) -> float:
    return round(math.ceil(share / STEP - _TINY) * STEP, 2)


def _down(share: float) -> float:
    return round(math.floor(share / STEP + _TINY) * STEP, 2)
