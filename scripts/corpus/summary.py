"""What is known of each file of the corpus, and all of it in numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packages import Packages, folder_of
from verdicts import Verdict

SUMMARY = Path(__file__).parents[2] / "docs/reference/corpus.json"
WAYS = ("paddock parse", "server")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file, its pages as the references count them, and what came of it in each of WAYS.

    `problem` is why the references cannot open it. What the server says of the file as it is stands there
    only where the file is of a kind that it reads, and `paddock parse` does not send it as it is.
    """

    name: str  # PACKAGE/FILE
    pages: int
    compared: int
    words: int
    problem: str
    verdicts: Mapping[str, Verdict]

    @property
    def kind(self) -> str:
        """PDFs and pictures by their names."""
        return "PDF" if self.name.lower().endswith(".pdf") else "picture"

    def as_json(self) -> dict[str, object]:
        """The entry as `entry_of` reads it."""
        return asdict(self)


def entry_of(read: Mapping[str, Any]) -> Entry:
    """An entry out of its JSON."""
    verdicts = {
        way: Verdict(**{**told, "losses": tuple(told["losses"])}) for way, told in read["verdicts"].items()
    }
    return Entry(**{**read, "verdicts": verdicts})


def summary(entries: Sequence[Entry], pinned: Packages, about: Mapping[str, object]) -> str:
    """The text of the committed file: `about`, the numbers, and each file with something wrong."""
    told = {
        **about,
        "packages": _packages(entries, pinned),
        "outcomes": [_outcome(entries, way, kind) for way in WAYS for kind in ("PDF", "picture")],
        "causes": _causes(entries),
        "findings": list(_findings(entries)),
    }
    return json.dumps(told, indent=1) + "\n"


def _packages(entries: Sequence[Entry], pinned: Packages) -> list[dict[str, object]]:
    counted: dict[str, Counter[str]] = {}
    for entry in entries:
        counted.setdefault(entry.name.partition("/")[0], Counter())[entry.kind] += 1
    return [
        {"registry": registry, "name": package.name, "version": package.version, **counted[folder]}
        for registry, package in pinned.each()
        if (folder := folder_of(registry, package)) in counted
    ]


def _outcome(entries: Sequence[Entry], way: str, kind: str) -> dict[str, object]:
    judged = [
        (entry, entry.verdicts[way]) for entry in entries if entry.kind == kind and way in entry.verdicts
    ]
    return {
        "way": way,
        "kind": kind,
        "files": len(judged),
        "pages": sum(entry.pages for entry, _ in judged),
        "compared": sum(entry.compared for entry, _ in judged),
        "words": sum(entry.words for entry, _ in judged),
        "tracebacks": sum(bool(verdict.failure) for _, verdict in judged),
        "losses": sum(bool(verdict.losses) for _, verdict in judged),
        "refused": sum(bool(verdict.refused) for _, verdict in judged),
        "wrongly": sum(verdict.wrongly for _, verdict in judged),
    }


def _causes(entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {}
    for entry in entries:
        if cause := entry.verdicts[WAYS[0]].cause:
            counted.setdefault(cause, Counter())[entry.kind] += 1
    return {cause: dict(kinds) for cause, kinds in sorted(counted.items())}


def _findings(entries: Sequence[Entry]) -> Iterator[dict[str, str]]:
    for entry in entries:
        for way, verdict in entry.verdicts.items():
            wrong = [*verdict.losses, verdict.failure, verdict.refused if verdict.wrongly else ""]
            if told := "; ".join(filter(None, wrong)):
                yield {"file": entry.name, "way": way, "found": told}
