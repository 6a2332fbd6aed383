"""How operations tell the user what they do, without knowing the terminal.

`paddock.console` implements `Reporter` for people; tests pass one that records.
Everything said here goes to stderr: results are returned, not reported.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

Unit = Literal["bytes", "files", "pages", "seconds"]


class Advance(Protocol):
    """Moves a progress display on by `amount` units."""

    def __call__(self, amount: int, /) -> None: ...


class Reporter(Protocol):
    """Where progress, notes and warnings go."""

    def say(self, message: str, /) -> None:
        """One line about what happens now."""

    def warn(self, message: str, /) -> None:
        """One line that the user should not miss."""

    def progress(
        self, label: str, *, total: int | None, unit: Unit, done: int = 0
    ) -> AbstractContextManager[Advance]:
        """A progress display; `total` None where the amount is not known, `done` what was there before."""


def clipped(text: str, width: int) -> str:
    """The text on one line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
