"""Which pages of a document are asked for: `2,4-6`, from 1."""

from __future__ import annotations

import re

RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
LONGEST = 2000  # characters


class WrongRanges(ValueError):  # noqa: N818 - it is an answer
    """What is wrong with the ranges; the words go to the client."""


def read(text: str) -> list[tuple[int, int]]:
    """First and last page of each range; an empty text has none, which asks for all pages."""
    if not text.strip():
        return []
    if len(text) > LONGEST:
        raise WrongRanges(f"pageRanges: found {len(text)} characters, expected at most {LONGEST}")
    found = []
    for entry in text.split(","):
        matched = RANGE.fullmatch(entry.strip())
        if matched is None:
            raise WrongRanges(f"pageRanges: found {entry.strip()[:40]!r}, expected pages and ranges such as 2,4-6")
        first = int(matched[1])
        last = int(matched[2] or first)
        if first < 1:
            raise WrongRanges(f"pageRanges: found page {first}, expected pages from 1")
        if last < first:
            raise WrongRanges(f"pageRanges: found {first}-{last}, expected the smaller page first")
        found.append((first, last))
    return found


def chosen(text: str, count: int) -> list[int]:
    """The pages of a document of `count` pages that are asked for, from 1, each once, in the document's order."""
    ranges = read(text)
    if not ranges:
        return list(range(1, count + 1))
    most = max(last for _, last in ranges)
    if most > count:
        raise WrongRanges(f"pageRanges: found page {most}, expected at most {count}, the last page of the document")
    return sorted({page for first, last in ranges for page in range(first, last + 1)})
