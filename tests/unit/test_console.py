"""How the console writes what people read."""

from __future__ import annotations

import pytest

from paddock import console
from paddock.errors import UsageError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0s"), (59.9, "59s"), (200, "3m 20s"), (3600, "1h 0m"), (90_000, "1d 1h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (10**10, "10.00 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert console.size(count) == text


def test_a_table_is_aligned_and_has_no_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["NAME", "N"], [["a", "1"], ["longer", "22"]])
    assert capsys.readouterr().out == "NAME    N\na       1\nlonger  22\n"


def test_results_go_to_stdout_and_everything_else_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.result("done")
    console.result_json({"name": "ü"})
    console.error(UsageError("where: what", hint="do this"))
    reporter = console.TerminalReporter()
    reporter.say("working")
    reporter.warn("careful")
    with reporter.progress("copying", total=3, unit="files") as advance:
        advance(1)
    printed = capsys.readouterr()
    assert printed.out == 'done\n{\n  "name": "ü"\n}\n'
    assert printed.err.splitlines() == [
        "error: where: what",
        "hint: do this",
        "working",
        "warning: careful",
        "copying ...",
    ]
