"""Counts the tests of each fault, by the marker `fault`: pytest collects the tests and runs none.

usage: fault_count.py
Prints JSON: fault -> [in the classic store, in the containerd store, without an engine].
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PLACES = ("classic", "containerd", "")


class Counter:
    """A plugin that takes down what is collected."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for marker in item.iter_markers("fault"):
                counts = self.counts.setdefault(marker.args[0], [0] * len(PLACES))
                counts[PLACES.index(store(item))] += 1


def store(item: pytest.Item) -> str:
    """The image store that a test meets; empty for one that meets none."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return ""
    return next((value for value in item.callspec.params.values() if value in PLACES), "")


if __name__ == "__main__":
    counter = Counter()
    folders = [str(TESTS / name) for name in ("unit/bundle", "integration/bundles")]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *folders], plugins=[counter])
    if status:
        sys.exit(said.getvalue())
    print(json.dumps(counter.counts))
