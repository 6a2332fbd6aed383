"""What stands on the documents in `drawn/`, which scripts/maintain/make-smoke-documents.py draws."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.records import Task

DOCUMENTS = Path(__file__).parent / "drawn"

Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownTask:
    """The picture for one task and what stands on it: `cells` of a table or a chart, `text` of all others."""

    file: str
    text: str = ""
    cells: Rows = ()

    def read(self) -> bytes:
        """The picture, as PNG."""
        return (DOCUMENTS / self.file).read_bytes()


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownDocument:
    """A document and what stands on each of its pages: words, or lines where it is in plain print."""

    name: str
    file: str
    pages: Rows

    def read(self) -> bytes:
        """The document, as PNG or PDF."""
        return (DOCUMENTS / self.file).read_bytes()


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownAnswers:
    """All that can be asked, and what is to be answered."""

    tasks: Mapping[Task, KnownTask]
    documents: tuple[KnownDocument, ...]


@cache
def known_answers(*, plain: bool = False) -> KnownAnswers:
    """The answers for our documents, or for those in plain print, which are for the embedded model."""
    answers = json.loads((DOCUMENTS / "answers.json").read_text("utf-8"))
    return _known_answers(answers["plain"] if plain else answers)


def _known_answers(answers: Mapping[str, Any]) -> KnownAnswers:
    return KnownAnswers(
        tasks=FrozenDict({Task(name): _known_task(task) for name, task in answers["tasks"].items()}),
        documents=tuple(
            KnownDocument(name=name, file=document["file"], pages=_rows(document["pages"]))
            for name, document in answers["documents"].items()
        ),
    )


def _known_task(task: Mapping[str, Any]) -> KnownTask:
    return KnownTask(file=task["file"], text=task.get("text", ""), cells=_rows(task.get("cells", ())))


def _rows(rows: list[list[str]]) -> Rows:
    return tuple(tuple(row) for row in rows)
