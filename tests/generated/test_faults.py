"""docs/faults.md names every fault that has tests, with their number, and no other."""

from __future__ import annotations

import json
import subprocess
import sys

from repository import REPOSITORY


def test_the_table_of_faults_is_what_the_tests_are() -> None:
    counted = subprocess.run(
        [sys.executable, REPOSITORY / "tests/support/fault_count.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {fault: list(map(str, numbers)) for fault, numbers in json.loads(counted.stdout).items()}
    text = (REPOSITORY / "docs/faults.md").read_text("utf-8")
    lines = text.partition("<!-- table: faults -->\n")[2].partition("<!-- end -->")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows
    assert {row[0]: row[3:] for row in rows} == found, "write these numbers into docs/faults.md"
    assert len(rows) == len(found)
