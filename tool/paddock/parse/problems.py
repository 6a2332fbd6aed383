"""What is wrong with pages of an answer: as the API says it, or as it shows where the API says nothing.

An API of paddock judges its pages itself and says so in the header `JUDGED`; upstream's does not. What can be
seen of a page without its picture is looked for here then: no word, and text that repeats itself without end.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from paddock.jsonvalues import MalformedError, field, optional, typed
from paddock.report import clipped

JUDGED, JUDGED_BY_API = "X-Paddock-Pages", "judged"  # a header and its value

UNREADABLE = "unreadable"  # the kind of a page that the document itself does not give
EMPTY = "empty"
REPEATED = "repeated"
SURPLUS = "surplus"  # of the document: more pages than it has

_MOST = 20  # problems of one page
_LONGEST_KIND = 40  # characters
_LONGEST_MESSAGE = 500

# A model that cannot stop goes on until its limit of some thousand tokens. Tables repeat words, but less.
_RUN = 1000  # characters of such text at least
_LONGEST_UNIT = 200  # characters that come again and again
_TIMES = 10
_WINDOW = _RUN // 2
_STEP = _RUN - _WINDOW  # so that some window lies inside of every run
_TAG = re.compile(r"<[^>]*>")


class Severity(StrEnum):
    """How bad a problem is."""

    FAILED = "failed"  # the page was not read
    WARNING = "warning"  # it was read, perhaps not as it should be


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What is wrong with a page, counted from 1; `page` is None where it is the whole document."""

    page: int | None
    kind: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        return self.message if self.page is None else f"page {self.page}: {self.message}"

    def told(self) -> dict[str, Any]:
        """The problem as the API tells it, inside of its page."""
        return {"kind": self.kind, "severity": self.severity.value, "message": self.message}

    def recorded(self) -> dict[str, Any]:
        """The problem where it stands outside of its page; `read` takes it back."""
        return asdict(self)


def read(value: object, page: int | None = None) -> tuple[Problem, ...]:
    """Return the problems of a JSON list; raise MalformedError for anything else, and for more than 20.

    `page` is where they were found, None where each says it itself.
    """
    entries = typed(value, list, "problems")
    if page is not None and len(entries) > _MOST:
        raise MalformedError(f"problems of page {page}: found {len(entries)}, expected {_MOST} at most")
    return tuple(_read(typed(entry, dict, "an entry of problems"), page) for entry in entries)


def _read(entry: dict[str, Any], page: int | None) -> Problem:
    severity = field(entry, "severity", str)
    if severity not in set(Severity):
        raise MalformedError(f"severity: found {clipped(severity, 40)!r}, expected failed or warning")
    return Problem(
        page=optional(entry, "page", int) if page is None else page,
        kind=clipped(field(entry, "kind", str), _LONGEST_KIND),
        severity=Severity(severity),
        message=clipped(field(entry, "message", str), _LONGEST_MESSAGE),
    )


def judged(text: str, *, images: bool, page: int) -> Iterator[Problem]:
    """Yield what the Markdown `text` of a page shows; `images` says whether it has some."""
    words = " ".join(html.unescape(_TAG.sub(" ", text)).split())
    if not images and not any(map(str.isalnum, words)):
        yield _warning(page, EMPTY, "no text came back; the page may be blank")
    if repeats_itself(words):
        yield _warning(page, REPEATED, "its text repeats itself without end")


def surplus(found: int, expected: int) -> Problem:
    """The problem of an answer with more pages than its document."""
    return _warning(None, SURPLUS, f"found {found} pages in the answer, expected {expected}")


def _warning(page: int | None, kind: str, message: str) -> Problem:
    return Problem(page=page, kind=kind, severity=Severity.WARNING, message=message)


def repeats_itself(text: str) -> bool:
    """Whether 1,000 characters of `text` or more are one short piece with letters, over and over."""
    return any(_repeats(text, at) for at in range(0, len(text) - _WINDOW + 1, _STEP))


def _repeats(text: str, start: int) -> bool:
    """Whether the window at `start` is part of such a piece of text."""
    unit = _unit(text[start : start + _WINDOW])
    if not unit or not any(map(str.isalpha, text[start : start + unit])):
        return False
    end = start + _WINDOW
    while end < len(text) and text[end] == text[end - unit]:
        end += 1
    while start and text[start - 1] == text[start - 1 + unit]:
        start -= 1
    return end - start >= max(_RUN, unit * _TIMES)


def _unit(window: str) -> int:
    """The length of what the window repeats; 0 where it repeats nothing."""
    beginning, unit = window[:8], 0
    while 0 <= (unit := window.find(beginning, unit + 1)) <= _LONGEST_UNIT:
        if window.startswith(window[unit:]):
            return unit
    return 0


def failed_pages(problems: Sequence[Problem]) -> int:
    """Return how many pages were not read."""
    return len({problem.page for problem in problems if problem.severity is Severity.FAILED})
