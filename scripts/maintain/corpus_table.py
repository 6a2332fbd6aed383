"""The tables of docs/reference/corpus.md, from the summary that scripts/corpus/measure.py writes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from blocks import table

SUMMARY = Path(__file__).parents[2] / "docs/reference/corpus.json"
KINDS = ("PDF", "picture")
KEYS = ("way", "kind", "files", "pages", "compared", "words", "tracebacks", "losses", "wrongly", "refused")


@cache
def summary() -> dict[str, Any]:
    """What was measured last, read once."""
    read: dict[str, Any] = json.loads(SUMMARY.read_text("utf-8"))
    return read


def corpus() -> str:
    """What came of the files: a row for each way and kind."""
    headings = ("read by", "kind", "files", "pages", "compared", "words on them")
    wrong = ("tracebacks", "files with silent losses", "refused though readable", "refused in all")
    keys = (
        "way",
        "kind",
        "files",
        "pages",
        "compared",
        "words",
        "tracebacks",
        "losses",
        "wrongly",
        "refused",
    )
    rows = (tuple(_figure(outcome[key]) for key in keys) for outcome in summary()["outcomes"])
    return table((*headings, *wrong), rows)


def causes() -> str:
    """Why `paddock parse` refuses files."""
    counted = summary()["causes"].items()
    rows = ((cause, *(_figure(kinds.get(kind, 0)) for kind in KINDS)) for cause, kinds in counted)
    return table(("refused for", "PDFs", "pictures"), rows)


def findings() -> str:
    """Each file with something wrong, and what."""
    rows = [
        (f"`{found['file']}`", found["way"], found["found"].replace("|", "\\|"))
        for found in summary()["findings"]
    ]
    return table(("file", "read by", "found"), rows or [("none", "", "")])


def packages() -> str:
    """Where the files come from."""
    rows = (
        (held["registry"], held["name"], held["version"], *(_figure(held.get(kind, 0)) for kind in KINDS))
        for held in summary()["packages"]
    )
    return table(("from", "package", "version", "PDFs", "pictures"), rows)


def conditions() -> str:
    """When it was measured, and with what."""
    libraries = ", ".join(f"{name} {version}" for name, version in summary()["libraries"].items())
    row = (summary()["date"], f"the first {summary()['pages']}", libraries)
    return table(("date", "pages of a file that are compared", "libraries"), [row])


def _figure(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
