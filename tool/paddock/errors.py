"""Every error that a user can meet, each with its exit code and, where one exists, the next step.

Raised below the command line, turned into text and an exit status only in `paddock.door`.
A message reads `<where>: <what>, found and expected`; the hint says what to do about it.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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


class ReaderGoneError(PaddockError):
    """Whoever read the output is gone, as `head` is when it has its lines; nothing more is said."""

    exit_code = 141


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


# --- what the system refuses --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refusal:
    """What one number of the system's means; in `step`, {place} is what is there of the path, quoted."""

    words: str
    step: str


_LOOK = "`ls -ld {place}` shows whose it is;"
_MEDIUM = _Refusal(
    words="the disk or medium does not answer as it should",
    step="see that the medium is still there and whole (`df {place}`), then repeat the command",
)
_DENIED = _Refusal(
    words="this user may not use it", step=f"{_LOOK} work as a user who may, or choose a place of your own"
)
_BAD_NAME = _Refusal(
    words="is no name that this disk takes", step="`df -T {place}` shows its file system; choose another name"
)
_REFUSALS: Mapping[int, _Refusal] = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _Refusal(
        words="lies on a disk that can only be read",
        step="`df {place}` shows which disk it is; choose a place that can be written",
    ),
    errno.ENOSPC: _Refusal(
        words="the disk is full", step="`df -h {place}` shows it; make room there, then repeat the command"
    ),
    errno.EDQUOT: _Refusal(
        words="this user's share of the disk is used up",
        step="`df -h {place}` shows the disk; remove files there or have the share raised, then repeat",
    ),
    errno.EFBIG: _Refusal(
        words="the file is larger than this disk or this user's limit allows",
        step="`ulimit -f` shows the limit, `df -T {place}` the file system; choose another place",
    ),
    errno.ENOENT: _Refusal(words="is not there", step="`ls -ld {place}` is what is there; correct the path"),
    errno.ENOTDIR: _Refusal(
        words="leads through a file, expected folders only",
        step="`ls -ld {place}` is the file; correct the path",
    ),
    errno.EISDIR: _Refusal(
        words="is a folder, expected a file", step="`ls -ld {place}` shows it; correct the path"
    ),
    errno.EEXIST: _Refusal(words="is there already", step=f"{_LOOK} choose another name, or move it away"),
    errno.ENOTEMPTY: _Refusal(words="is not empty", step="`ls -A {place}` shows what is in it"),
    errno.ENAMETOOLONG: _Refusal(
        words="is longer than a path or a name can be", step="choose a shorter one, below {place} for example"
    ),
    errno.ELOOP: _Refusal(
        words="its links lead in a circle", step="`ls -ld {place}` shows where the first leads; correct it"
    ),
    errno.EMFILE: _Refusal(
        words="this process may not open more files",
        step="allow more in this shell with `ulimit -n 4096`, then repeat the command",
    ),
    errno.ENFILE: _Refusal(
        words="this host cannot open more files",
        step="`cat /proc/sys/fs/file-nr` shows how many are open; end what holds them, then repeat",
    ),
    errno.EBUSY: _Refusal(words="is in use", step=f"{_LOOK} end what uses it, then repeat the command"),
    errno.ENOMEM: _Refusal(
        words="this host has no memory left",
        step="`free -h` shows it; end other programs, then repeat the command",
    ),
    **dict.fromkeys((errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.ESTALE), _MEDIUM),
    **dict.fromkeys((errno.EINVAL, errno.EILSEQ), _BAD_NAME),
}
_WITHOUT_A_PATH = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
)
_SHOWN = 30  # characters on each side of one that is wrong


def refused_by_system(refused: OSError) -> PaddockError | None:
    """The error for what a file system refused; None for what it cannot have been.

    An error without a path is of a file system only if its number is one of `_WITHOUT_A_PATH`: the others
    come from connections, too.
    """
    path = _named_in(refused)
    if path or refused.errno in _WITHOUT_A_PATH:
        return refusal(refused, path)
    return _nowhere(refused) if refused.errno == errno.ENOENT else None


def refusal(
    refused: OSError, where: str | Path, *, raising: type[PaddockError] = PreflightError
) -> PaddockError:
    """The error that says in plain words what the system refused about `where`."""
    known = _REFUSALS.get(refused.errno or 0)
    what = known.words if known else str(refused.strerror or refused)
    return raising(f"{where}: {what}" if str(where) else what, hint=step_after(refused, where))


def is_of_this_host(refused: OSError) -> bool:
    """Whether it says nothing about the file that was asked for: this host or this process can do no more."""
    return refused.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def step_after(refused: OSError, path: str | Path) -> str:
    """The next step after what the system refused about `path`."""
    known = _REFUSALS.get(refused.errno or 0)
    step = known.step if known else f"{_LOOK} correct that, then repeat the command"
    return step.format(place=quoted(_nearest(Path(path))))


def quoted(word: str | Path) -> str:
    """A word as a shell takes it; what a terminal does not show stands as escapes that bash and zsh read."""
    text = str(word)
    if text.isprintable():
        return shlex.quote(text)
    escaped = "".join(
        character if character.isprintable() and character not in "'\\" else _in_escapes(character)
        for character in text
    )
    return f"$'{escaped}'"


def _in_escapes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _named_in(refused: OSError) -> str:
    """The path that the system's error names; empty where it names none, or only a number of a file."""
    named = refused.filename2 or refused.filename
    return os.fsdecode(named) if isinstance(named, str | bytes) else ""


def _nearest(path: Path) -> Path:
    """The path, or the nearest above it that is there as far as this user may look."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), Path("/"))


def _nowhere(refused: OSError) -> PaddockError:
    """What is missing where the system names nothing: the current folder, or a folder for temporary files."""
    try:
        Path.cwd()
    except OSError:
        return PreflightError("the current folder: is not there any more", hint="go to one that is: `cd /`")
    return PreflightError(str(refused.strerror), hint="`df -h /tmp` shows its disk; TMPDIR can name another")


def not_utf8(found: UnicodeError) -> PaddockError | None:
    """The error for a name, an argument or a file that is not UTF-8; None for any other fault of a text."""
    if isinstance(found, UnicodeEncodeError) and found.reason == "surrogates not allowed":
        around = found.object[max(0, found.start - _SHOWN) : found.end + _SHOWN]
        return UsageError(f"{around}: is not UTF-8", hint="give it a name in UTF-8")
    if isinstance(found, UnicodeDecodeError) and found.encoding == "utf-8":
        around = found.object[max(0, found.start - _SHOWN) : found.end + _SHOWN].decode(errors="replace")
        return ConfigurationError(
            f"a file that was read: found the byte 0x{found.object[found.start]:02x} in {around!r},"
            " expected UTF-8",
            hint="save it in UTF-8",
        )
    return None
