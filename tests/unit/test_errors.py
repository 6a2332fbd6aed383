"""The family of errors: each has an exit status of its own, and says what a program printed last."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock import errors
from paddock.errors import PaddockError, ProgramError, causes


def test_every_kind_of_error_has_its_exit_status() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, PaddockError) and kind is not PaddockError
    ]
    assert {kind.exit_code for kind in kinds} == {2, 3, 4, 5, 6, 7, 8, 9, 130}
    assert len(kinds) > 10


def test_an_error_keeps_its_message_and_its_hint() -> None:
    failure = errors.UsageError("where: what", hint="do this")
    assert (str(failure), failure.message, failure.hint) == ("where: what", "where: what", "do this")
    placed = errors.DataError(Path("a.yaml"), 3, 7, "found x")
    assert (placed.message, placed.line, placed.column) == ("a.yaml:3:7: found x", 3, 7)


@pytest.mark.parametrize(
    ("message", "last"),
    [
        ("docker: exit status 1\n  | one\n  |   two  ", "two"),
        ("docker: no such program on PATH", "docker: no such program on PATH"),
    ],
)
def test_the_last_line_of_a_program(message: str, last: str) -> None:
    assert ProgramError(message).last_line == last


def test_causes_are_found_wherever_a_library_keeps_them() -> None:
    """As `raise ... from`, in `args` and as `reason`, as in requests and urllib3; and a circle ends."""
    refused = ConnectionRefusedError("refused")
    wrapped = OSError("Connection aborted.", refused)
    outer = RuntimeError("no answer")
    outer.__cause__ = wrapped
    refused.__context__ = outer
    assert list(causes(outer)) == [outer, wrapped, refused]
    retried = OSError("retries")
    retried.reason = refused  # type: ignore[attr-defined]
    assert refused in set(causes(retried))
