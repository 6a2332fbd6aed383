"""Compares what our readers say of a file with what PDFium and Pillow say of it.

A loss is silent: a page is sent that is blank, another one or of another size, or pages are missing. A
refusal is not silent, but wrong where the references read the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from answers import Answer
from looks import Look
from references import Page, Reference

MOST_PIXELS = 100_000_000  # API_MAX_PIXELS: a larger page of a PDF is drawn at a smaller scale
NEAR = 0.01  # by how much a side may differ
ROUNDED = 2  # pixels

# What a refusal is about, by words in it; the first that fits.
CAUSES = {
    "password or encryption": r"password|encrypt",
    "XFA form": r"XFA",
    "cut off": r"cut off|truncated|within an object|ends before|to its end",
    "a size or number beyond the limits": r"API_MAX|expected at most|at most \d",
    "a kind or compression that is not read": r"expected a? ?PDF|form that is|compress|convert it|be conv",
    "no pages": r"no pages|found 0 pages",
    "a page or its box": r"^page \d|Box",
    "reader ended or took too long": r"reader ended|no answer|not read within|come to an end|more memory",
    "damage": r"damaged|cannot be (opened|read|decoded)|not a",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is wrong with one answer; nothing, where all is empty."""

    losses: tuple[str, ...] = ()
    refused: str = ""  # the reason why the document, or one of its pages, is refused
    wrongly: bool = False  # the references read what is refused
    failure: str = ""

    @property
    def cause(self) -> str:
        """What the refusal is about, in the words of the table."""
        found = (name for name, words in CAUSES.items() if re.search(words, self.refused))
        return next(found, "another") if self.refused else ""


def verdict(reference: Reference, answer: Answer) -> Verdict:
    """Judge an answer."""
    if answer.failure:
        return Verdict(failure=answer.failure)
    if answer.refusal:
        return Verdict(refused=answer.refusal, wrongly=reference.whole and not reference.placeholder)
    compared = list(zip(reference.pages, answer.pages, strict=False))
    refused = [(page, answered) for page, answered in compared if isinstance(answered, str)]
    return Verdict(
        losses=tuple(_losses(reference, answer)),
        refused=refused[0][1] if refused else "",
        wrongly=any(isinstance(page, Page) and not page.look.blank for page, _ in refused),
    )


def _losses(reference: Reference, answer: Answer) -> Iterator[str]:
    if not reference.problem and answer.count != reference.count:
        yield f"found {answer.count} pages, expected {reference.count}"
    if reference.placeholder:
        yield "the page that asks for another viewer is taken for the document"
    for number, (page, answered) in enumerate(zip(reference.pages, answer.pages, strict=False), 1):
        if isinstance(page, Page) and isinstance(answered, Look) and (loss := _loss(page, answered)):
            yield f"page {number}: {loss}"


def _loss(page: Page, answered: Look) -> str:
    if answered.blank and (page.words or not page.look.blank):
        return f"blank, expected {page.words} words" if page.words else "blank, expected a picture"
    if not _of_one_size(answered, page.look):
        wanted = f"{page.look.width} x {page.look.height}"
        return f"found {answered.width} x {answered.height} pixels, expected {wanted}"
    same = (answered.blank and page.look.blank) or answered.shows_the_same_as(page.look)
    return "" if same else "shows something else"


def _of_one_size(found: Look, wanted: Look) -> bool:
    """A page beyond MOST_PIXELS may be drawn smaller, in its proportions."""
    shrink = min(1.0, (MOST_PIXELS / (wanted.width * wanted.height)) ** 0.5)
    sides = ((found.width, wanted.width * shrink), (found.height, wanted.height * shrink))
    return all(abs(have - want) <= max(ROUNDED, NEAR * want) for have, want in sides)
