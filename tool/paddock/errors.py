"""Every error that a user can meet, each with its exit code and, where one exists, the next step.

Raised below the command line, turned into text and an exit status only in `paddock.door`.
A message reads `<where>: <what>, found and expected`; the hint says what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar


class PaddockError(Exception):
    """Base of all expected failures. `exit_code` becomes the status of the process."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PaddockError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class ConfigurationError(PaddockError):
    """A data file, an `.env` file or a combination of target, backend and model is wrong."""

    exit_code = 3


class DataError(ConfigurationError):
    """One place in one data file is wrong; `line` and `column` count from 1."""

    def __init__(self, path: Path, line: int, column: int, message: str, *, hint: str = "") -> None:
        super().__init__(f"{path}:{line}:{column}: {message}", hint=hint)
        self.path, self.line, self.column = path, line, column


class OutOfDateError(PaddockError):
    """Generated files differ from what the data and templates give now."""

    exit_code = 4


class EngineError(PaddockError):
    """Docker is missing, unreachable, too old, or refused a request."""

    exit_code = 5


class ProgramError(PaddockError):
    """A program that we ran failed; the message ends with the last lines that it printed.

    Each of these lines stands behind `  | `.
    """

    exit_code = 6

    @property
    def last_line(self) -> str:
        """The last line that the program printed; what happened to it where it printed nothing."""
        return self.message.splitlines()[-1].removeprefix("  | ").strip()


class WeightsError(PaddockError):
    """Model weights are missing, incomplete, changed or unsafe to unpack."""

    exit_code = 7


class SourceError(WeightsError):
    """One source of weights does not answer, lacks them, or does not keep its word; another may do."""


class BundleError(PaddockError):
    """A bundle is damaged, incomplete, untrusted, or not for this host; the engine is as it was, or complete.

    An import never leaves an engine in between.
    """

    exit_code = 7


class UnhealthyError(PaddockError):
    """A stack is not able to answer, or an answer was not what it should be."""

    exit_code = 8


class UnreachableError(UnhealthyError):
    """Nothing answers at the address of a pipeline API: sending more to it is pointless until it is up."""


class UnknownClientError(UnreachableError):
    """The pipeline API wants a key, or does not know the one that was sent."""


class PreflightError(PaddockError):
    """This host cannot run what was asked: a port is taken, a file is missing, memory is short."""

    exit_code = 9


class Interrupted(PaddockError):  # noqa: N818 - the word users know
    """Ctrl-C; everything half-written has been removed."""

    exit_code = 130


def causes(failure: BaseException) -> Iterator[BaseException]:
    """The failure and its causes. requests and urllib3 keep theirs in `args` and `reason`."""
    seen: set[int] = set()
    pending: list[object] = [failure]
    while pending:
        current = pending.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending += [current.__cause__, current.__context__, *current.args, getattr(current, "reason", None)]
