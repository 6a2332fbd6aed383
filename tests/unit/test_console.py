"""How the console writes what people read."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 你好, café, 👩\u200d🔬, \t-\n", "plain, 你好, café, 👩\u200d🔬, \t-\n"),
        ("\x1b[2J\x07\x00\r\x7f", "\\x1b[2J\\x07\\x00\\x0d\\x7f"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("a\u202eb\u2066\u200f\u061c", "a\\u202eb\\u2066\\u200f\\u061c"),
        ("a\u2028\ufeff\U000e0041", "a\\u2028\\ufeff\\U000e0041"),
        ("\udcff\udc9b\ud800", "\\xff\\x9b\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert console.printable(text) == shown


@given(st.text())
def test_whatever_comes_can_be_printed(text: str) -> None:
    shown = console.printable(text)
    shown.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@given(value=st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5))
def test_json_is_read_as_it_was_and_has_nothing_that_a_terminal_obeys(value: object) -> None:
    with redirect_stdout(io.StringIO()) as printed:
        console.result_json(value)
    assert json.loads(printed.getvalue()) == value
    assert console.printable(printed.getvalue()) == printed.getvalue()


def test_a_message_cannot_pass_for_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(UsageError("a\nerror: b\n  c", hint="d\nhint: pay\n"))
    console.TerminalReporter().say("e\nwarning: f")
    console.table(["NAME", "N"], [["a\nb\x1b", "1"]])
    printed = capsys.readouterr()
    assert printed.err == "error: a\n  error: b\n  c\nhint: d\n  hint: pay\n\ne\n  warning: f\n"
    assert printed.out == "NAME      N\na\\nb\\x1b  1\n"


def test_a_defect_is_shown_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        console.defect()
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert said.endswith("ValueError: \\x1b[2J\n")
