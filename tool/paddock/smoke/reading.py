"""Comparing what a model read with what stands on a document. Pure: texts in, shares of errors out.

A share is 0 where everything is right and 1 where nothing is. Spaces and line breaks do not count as
characters: where a model breaks its lines is not what is checked here.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Rows = Sequence[Sequence[str]]

_OTSL_CELL = re.compile(r"<(fcel|ecel|lcel|ucel|xcel|nl)>([^<]*)")  # OTSL 1.0, how the model writes tables
_CORNER = re.compile(r"<\|LOC_\d+\|>")  # one corner of a spotted text
_SPECIAL = re.compile(r"<\|[^|>]*\|>|</?s>")
_TAG = re.compile(r"<[^>]*>")
_LATEX_NOISE = re.compile(
    r"\$|\\[()\[\]]|\\left(?![a-z])|\\right(?![a-z])|\\[,;:! ]|\\displaystyle|\\mathrm|\\tag\*?\{\d*\}"
)
_PIPE_RULE = re.compile(r"[\s|:-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A share of errors and how large it may be."""

    what: str  # that is counted: characters, cells, words
    share: float
    limit: float

    @property
    def ok(self) -> bool:
        return self.share <= self.limit

    def __str__(self) -> str:
        return f"{self.share:.0%} of the {self.what} wrong, at most {self.limit:.0%}"


def characters(found: str, expected: str, *, limit: float) -> Measure:
    """The character error rate: changed, missing and superfluous characters by the expected length."""
    return Measure(what="characters", share=error_rate(_bare(found), _bare(expected)), limit=limit)


def latex(found: str, expected: str, *, limit: float) -> Measure:
    """The same for a formula, without LaTeX that does not show on the page."""
    return characters(_plain_latex(found), _plain_latex(expected), limit=limit)


def spotted(found: str, expected: str, *, limit: float) -> Measure:
    """The same for spotted text; an answer without a single corner counts as all wrong."""
    if not _CORNER.search(found):
        return Measure(what="corners", share=1.0, limit=limit)
    return characters(_SPECIAL.sub("", _CORNER.sub("", found)), expected, limit=limit)


def table_cells(found: str, expected: Rows, *, limit: float) -> Measure:
    """The share of expected cells that are not in their place."""
    rows = cells(found)
    right = sum(
        _bare(cell) == _bare(wanted)
        for row, wanted_row in zip(rows, expected, strict=False)
        for cell, wanted in zip(row, wanted_row, strict=False)
    )
    return _cells(right, expected, limit)


def chart_cells(found: str, expected: Rows, *, limit: float) -> Measure:
    """The share of expected cells that are nowhere in the answer: charts have no order of their own."""
    present = Counter(_number(_bare(cell)) for row in cells(found) for cell in row)
    wanted = Counter(_number(_bare(cell)) for row in expected for cell in row)
    return _cells((present & wanted).total(), expected, limit)


def words(found: str, expected: Sequence[str], *, limit: float) -> Measure:
    """The share of expected words that are nowhere in the Markdown of a page."""
    text = _bare(html.unescape(_TAG.sub(" ", found)))
    missing = sum(_bare(word) not in text for word in expected)
    return Measure(what="words", share=missing / len(expected), limit=limit)


def cells(text: str) -> list[list[str]]:
    """The rows of a table in OTSL, or in lines with `|` between the cells."""
    if _OTSL_CELL.search(text):
        return _otsl(text)
    lines = (line for line in text.splitlines() if line.strip() and not _PIPE_RULE.fullmatch(line))
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def error_rate(found: str, expected: str) -> float:
    """Levenshtein's distance by the length of `expected`, at most 1."""
    row = list(range(len(expected) + 1))
    for i, character in enumerate(found, 1):
        above, row[0] = row[0], i
        for j, wanted in enumerate(expected, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (character != wanted))
    return min(row[-1] / max(len(expected), 1), 1.0)


def _otsl(text: str) -> list[list[str]]:
    rows: list[list[str]] = [[]]
    for kind, content in _OTSL_CELL.findall(text):
        if kind == "nl":
            rows.append([])
        else:
            rows[-1].append(content.strip())
    return [row for row in rows if row]


def _cells(right: int, expected: Rows, limit: float) -> Measure:
    count = sum(len(row) for row in expected)
    return Measure(what="cells", share=1 - right / count, limit=limit)


def _bare(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def _plain_latex(text: str) -> str:
    """Without delimiters and spacing; `x^2` and `x^{2}` become the same."""
    return re.sub(r"\{(\w)\}", r"\1", "".join(_LATEX_NOISE.sub("", text).split()))


def _number(cell: str) -> str:
    """`20.0` and `20` are the same number on an axis."""
    return re.sub(r"(?<=\d)\.0+$", "", cell)
