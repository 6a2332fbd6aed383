"""The table of docs/reference/faults.md: each fault of a bundle, what happens, how many tests check it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from blocks import table
from descriptions import descriptions, require_same
from paddock.errors import ProgramError

COUNT = Path(__file__).parents[2] / "tests/support/fault_count.py"


def faults() -> str:
    """Every fault with the number of its tests in either image store and without an engine."""
    counted = _counted()
    described = descriptions().faults
    require_same("faults", described, counted)
    rows = (
        (name, fault.done, fault.engine, *(str(tests) for tests in counted[name]))
        for name, fault in described.items()
    )
    headings = ("fault", "what is done", "the engine afterwards", "classic", "containerd", "no engine")
    return table(headings, rows)


@cache
def _counted() -> dict[str, list[int]]:
    """In a process of its own, because pytest collects the tests in it."""
    done = subprocess.run([sys.executable, COUNT], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProgramError(f"{COUNT}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    counted: dict[str, list[int]] = json.loads(done.stdout)
    return counted
