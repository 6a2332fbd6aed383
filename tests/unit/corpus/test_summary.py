"""Entries as JSON, and all of them in numbers."""

from __future__ import annotations

import json

from packages import Package, Packages
from summary import Entry, entry_of, summary
from verdicts import Verdict

PINNED = Packages(pypi=(Package(name="pypdf", version="7.1.1", sha256="0" * 64),), debian=())


def measured(name: str, **verdicts: Verdict) -> Entry:
    ways = {way.replace("_", " "): told for way, told in verdicts.items()}
    return Entry(name=name, pages=3, compared=2, words=10, problem="", verdicts=ways)


ENTRIES = [
    measured("pypi-pypdf/a.pdf", paddock_parse=Verdict()),
    measured("pypi-pypdf/b.PDF", paddock_parse=Verdict(losses=("page 1: shows something else",))),
    measured(
        "pypi-pypdf/c.png",
        paddock_parse=Verdict(refused="the PNG is cut off", wrongly=True),
        server=Verdict(failure="KeyError: 1"),
    ),
]


def test_an_entry_survives_json() -> None:
    for entry in ENTRIES:
        assert entry_of(json.loads(json.dumps(entry.as_json()))) == entry


def test_numbers() -> None:
    told = json.loads(summary(ENTRIES, PINNED, {"date": "2026-12-01"}))
    assert told["date"] == "2026-12-01"
    assert told["packages"] == [
        {"registry": "PyPI", "name": "pypdf", "version": "7.1.1", "PDF": 2, "picture": 1}
    ]
    keys = ("files", "pages", "compared", "words", "tracebacks", "losses", "refused", "wrongly")
    assert {
        (outcome["way"], outcome["kind"]): tuple(outcome[key] for key in keys) for outcome in told["outcomes"]
    } == {
        ("paddock parse", "PDF"): (2, 6, 4, 20, 0, 1, 0, 0),
        ("paddock parse", "picture"): (1, 3, 2, 10, 0, 0, 1, 1),
        ("server", "PDF"): (0, 0, 0, 0, 0, 0, 0, 0),
        ("server", "picture"): (1, 3, 2, 10, 1, 0, 0, 0),
    }
    assert told["causes"] == {"cut off": {"picture": 1}}
    assert told["findings"] == [
        {"file": "pypi-pypdf/b.PDF", "way": "paddock parse", "found": "page 1: shows something else"},
        {"file": "pypi-pypdf/c.png", "way": "paddock parse", "found": "the PNG is cut off"},
        {"file": "pypi-pypdf/c.png", "way": "server", "found": "KeyError: 1"},
    ]
