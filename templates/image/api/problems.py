"""What is wrong with a page of the answer: it could not be read, or what was read is not all that is printed there.

The answers of the VLM server are looked at where they arrive; PaddleX keeps their text only (3.7.2,
inference/models/doc_vlm/predictor.py), and cuts text that repeats itself without a word.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal["unreadable", "failed", "empty", "cut-short", "repeated"]
Severity = Literal["failed", "warning"]
EDGE = 32  # grey levels between two pixels side by side: print, not paper or light
MARGIN = 0.03  # of each side: shadows of a scanner
LEAST_PRINT = 1e-4  # of the pixels: one short word on A4 has so many edges
TAIL = 4000  # characters at the end of an answer that are looked at
ENDLESS = re.compile(r"(.{1,200}?)\1{19,}", re.DOTALL)  # from the end on, where such an answer was stopped
LEAST_REPEATED = 300  # characters; dotted lines of a table of contents are shorter
LONGEST = 500  # characters of a message
TAGS = re.compile(r"<[^<>]{1,40}>")  # of tables: rows of empty cells are alike


@dataclass(frozen=True)
class Problem:
    """One of a page's entry; `failed` means that the page has no result."""

    kind: Kind
    severity: Severity
    message: str

    def said(self) -> dict[str, str]:
        """As the answer has it; what a library says may hold anything."""
        message = self.message.encode("utf-8", "backslashreplace").decode()[:LONGEST]
        return {"kind": self.kind, "severity": self.severity, "message": message}


@dataclass(eq=False)
class Question:
    """A region that the VLM server was asked about."""

    cut_short: bool = False
    repeated: bool = False

    def answered(self, completion: Any) -> None:
        """Note what is not in the text of a chat completion."""
        choice = completion.choices[0]
        self.cut_short = choice.finish_reason == "length"
        self.repeated = is_endless(choice.message.content or "")


@dataclass
class Noted(threading.local):
    """What the running thread has asked since `begin`: PaddleX asks in the order of the pages that it announces."""

    pages: list[int] = field(default_factory=list)  # of each question, in the order in which they are asked
    questions: list[Question] = field(default_factory=list)
    seen: int = 0  # pages

    def begin(self) -> None:
        self.pages, self.questions, self.seen = [], [], 0

    def ask(self) -> Question:
        """One question more."""
        self.questions.append(Question())
        return self.questions[-1]

    def of_page(self, number: int) -> list[Question]:
        """The questions about page `number` since `begin`."""
        return [question for page, question in zip(self.pages, self.questions) if page == number]  # noqa: B905


noted = Noted()


def note_pages(pipeline: Any) -> None:
    """Have PaddleX's pipeline for documents note which page each of its questions is about."""
    announced: Callable[..., Any] = pipeline._paddleocr_vl_aggregate_vlm_batches

    def announce(pages: Sequence[Any]) -> Any:
        gathered = announced(pages)
        of_pixels = gathered[3]
        for batch in of_pixels.values():
            noted.pages += [noted.seen + page for page, _ in batch["vlm_block_ids"]]
        noted.seen += len(pages)
        return gathered

    pipeline._paddleocr_vl_aggregate_vlm_batches = announce


def problems_of(image: np.ndarray[Any, Any], texts: Iterable[str], questions: Sequence[Question]) -> list[Problem]:
    """What a page (height, width, BGR) with those texts of its regions lacks, as far as one can see from outside."""
    found: list[Problem] = []
    if not any(text.strip() for text in texts) and is_printed(image):
        found.append(Problem("empty", "warning", "no text was found, but the page is not blank"))
    if count := sum(question.cut_short for question in questions):
        told = f"the model stopped at its limit of length in {count} of {len(questions)} regions (maxNewTokens)"
        found.append(Problem("cut-short", "warning", f"{told}: their text is not whole"))
    if count := sum(question.repeated for question in questions):
        told = f"the model repeated itself without end in {count} of {len(questions)} regions"
        found.append(Problem("repeated", "warning", f"{told}: their text cannot be relied on"))
    return found


def is_endless(text: str) -> bool:
    """Whether a text ends in the same words over and over."""
    tail = TAGS.sub("", text[-TAIL:])[::-1].lstrip()
    found = ENDLESS.match(tail)
    return bool(found and len(found[0]) >= LEAST_REPEATED and any(map(str.isalnum, found[1])))


def is_printed(image: np.ndarray[Any, Any]) -> bool:
    """Whether a page (height, width, BGR) has edges like those of print, beside its margins."""
    height, width = image.shape[:2]
    down, right = int(MARGIN * height), int(MARGIN * width)
    inner = image[down : height - down, right : width - right, 1]
    return int(edges(inner).sum()) > LEAST_PRINT * inner.size


def edges(grey: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How many edges each row of (height, width) has."""
    counts = np.empty(len(grey), np.int64)
    for first in range(0, len(grey), 1024):  # so that little memory is held
        rows = grey[first : first + 1024].astype(np.int16)
        counts[first : first + 1024] = np.count_nonzero(np.abs(np.diff(rows, axis=1)) > EDGE, axis=1)
    return counts
