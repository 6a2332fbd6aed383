"""Asking the judge: one child process, kept for all files, in which PDFium, Pillow and LibreOffice read them.

What reads files from strangers is C and C++. A reader that crashes, never ends or wants too much memory costs
the file that it was reading, with the reason; the next file finds a new judge.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from paddock.errors import (
    Interrupted,
    PaddockError,
    PreflightError,
    ProgramError,
    UsageError,
    quoted,
    refused_by_system,
)
from paddock.jsonvalues import MalformedError, decoded, field, optional, typed
from paddock.parse.questions import MADE, Task, Verdict
from paddock.process import Conversation

_PROGRAM = (sys.executable, "-P", "-m", "paddock.parse.judge")  # -P: no module of the current folder
_LONGEST_ANSWER = 1 << 20  # bytes
_GRACE = (
    2.0  # seconds that a judge that has stopped answering has to end by itself, so that its status is known
)
_SECONDS: Mapping[Task, float] = {
    Task.PDF: 60,
    Task.WHOLE: 120,
    Task.PICTURE: 120,
    Task.OFFICE_KIND: 30,
    Task.OFFICE: 300,
}


class Converted:
    """A converted file, which has no name any more and goes away with this object."""

    def __init__(self, path: Path) -> None:
        """Take over the file at `path`. Raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size  # bytes

    def open(self) -> BinaryIO:
        """Return the file from its first byte on; one reader at a time."""
        file = os.fdopen(os.dup(self._descriptor), "rb")
        file.seek(0)
        return file


class Judging:
    """The judge and whose turn it is; may be used by many threads at once."""

    def __init__(self, program: tuple[str, ...] = _PROGRAM, seconds: Mapping[Task, float] = _SECONDS) -> None:
        self._program, self._seconds = program, seconds
        self._turn = threading.Lock()
        self._judge: Conversation | None = None
        self._aborts = 0

    def look(self, path: Path, task: Task) -> Verdict:
        """Have the judge read the file at `path`.

        Raises UsageError as it refuses the file, with a message that goes on after the file's name;
        Interrupted after `abort`, PreflightError where no judge can be started.
        """
        return self._ask(path, task, "")

    def convert(self, path: Path, task: Task) -> tuple[Verdict, Converted]:
        """Have the judge make a PNG or PDF of the file at `path`. Raises as `look` does."""
        try:
            with tempfile.TemporaryDirectory(prefix="paddock-", ignore_cleanup_errors=True) as folder:
                verdict = self._ask(path, task, folder)
                return verdict, Converted(Path(folder, MADE))
        except OSError as failure:
            raise refused_by_system(failure) or failure from failure

    def abort(self) -> None:
        """End every question that is under way or waits for its turn: its thread raises Interrupted."""
        self._aborts += 1
        if judge := self._judge:
            judge.kill()

    def _ask(self, path: Path, task: Task, folder: str) -> Verdict:
        aborts = self._aborts
        with self._turn:
            try:
                if self._aborts == aborts:
                    return self._answer(path, task, folder)
            except UsageError:
                if self._aborts == aborts:
                    raise
        raise Interrupted("interrupted")

    def _answer(self, path: Path, task: Task, folder: str) -> Verdict:
        """Put a question. A judge that does not answer it is not asked again."""
        question = {"path": os.path.abspath(path), "task": task, "folder": folder}  # noqa: PTH100 - keeps links
        line = json.dumps(question).encode() + b"\n"
        until = time.monotonic() + self._seconds[task]
        had_one = self._judge is not None
        try:
            answer = self._exchange(line, until)
            if not answer and had_one:  # it may have ended long before: a new one knows
                self._end()
                answer = self._exchange(line, until)
            if not answer:
                raise _ended(self._end(grace=_GRACE))
            return _verdict(typed(decoded(answer), dict, "the answer"))
        except (UsageError, PreflightError):
            raise
        except TimeoutError as late:
            self._end()
            raise _harmful(f"did not come to an end in {self._seconds[task]:g} s") from late
        except MalformedError as malformed:
            self._end()
            raise _harmful(f"gave no answer ({malformed})") from malformed
        except ProgramError as failure:
            raise PreflightError(f"no program can be started to read files: {failure.message}") from failure
        except BaseException:
            self._end()
            raise

    def _exchange(self, line: bytes, until: float) -> bytes:
        """Return the judge's answer; nothing where it has ended. Raises TimeoutError and ProgramError."""
        self._judge = judge = self._judge or Conversation(self._program)
        judge.say(line)
        heard = b""
        while not heard.endswith(b"\n") and len(heard) <= _LONGEST_ANSWER:
            piece = judge.hear(until=until)
            if not piece:
                return b""
            heard += piece
        return heard

    def _end(self, *, grace: float = 0) -> int:
        judge, self._judge = self._judge, None
        return judge.end(grace=grace) if judge else 0


def _ended(status: int) -> PaddockError:
    if status < 0:
        return _harmful(f"was ended by signal {-status}")
    return PreflightError(
        f"the program that reads files ended with exit status {status}",
        hint=f"`{shlex.join(_PROGRAM)} </dev/null` says why; if it says nothing, install paddock again",
    )


def _harmful(how: str) -> UsageError:
    return UsageError(
        f"the program that reads such files {how}: the file is damaged, or made to do harm",
        hint="open it in a program that you trust it to, print or export it to a new PDF, and parse that",
    )


def _verdict(answer: Mapping[str, Any]) -> Verdict:
    if lacking := optional(answer, "lacking", str):
        folder = tempfile.gettempdir()
        raise PreflightError(
            f"{folder}: cannot hold a converted file: {lacking}",
            hint=f"make room there (`df -h {quoted(folder)}` shows it), or name another folder with TMPDIR",
        )
    if refusal := optional(answer, "refusal", str):
        raise UsageError(refusal, hint=field(answer, "hint", str))
    return Verdict(
        pages=field(answer, "pages", int),
        what=field(answer, "what", str),
        notes=tuple(typed(note, str, "notes") for note in field(answer, "notes", list)),
    )


JUDGE = Judging()  # that of this process
