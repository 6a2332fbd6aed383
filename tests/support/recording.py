"""A `Reporter` that keeps what it is told, for tests of operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from paddock.report import Advance, Unit


@dataclass(slots=True)
class Bar:
    """One progress display: `at` is where it stands, or ended."""

    label: str
    total: int | None
    unit: Unit
    at: int

    def advance(self, amount: int, /) -> None:
        self.at += amount


class Recorder:
    """`said` holds notes, `warned` warnings, `lines` both in their order, `bars` every progress display."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []
        self.lines: list[str] = []
        self.bars: list[Bar] = []

    def say(self, message: str, /) -> None:
        self.said.append(message)
        self.lines.append(message)

    def warn(self, message: str, /) -> None:
        self.warned.append(message)
        self.lines.append(message)

    @contextmanager
    def progress(self, label: str, *, total: int | None, unit: Unit, done: int = 0) -> Iterator[Advance]:
        bar = Bar(label=label, total=total, unit=unit, at=done)
        self.bars.append(bar)
        yield bar.advance
