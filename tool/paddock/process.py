"""Starting other programs. The only module that does, always from an argument list, never through a shell.

Ctrl-C reaches the child, too (same process group): we wait for it to clean up, then raise `Interrupted`.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import Interrupted, ProgramError, step_after

LAST_LINES = 25
LONGEST_LINE = 1 << 20  # characters that are handed over at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What a program left behind: its exit status (negative: killed by that signal) and its output."""

    status: int
    stdout: str
    stderr: str


def command_line(argv: Sequence[str]) -> str:
    """The command as one could paste it into a shell."""
    return shlex.join(argv)


def capture(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> Finished:
    """Run a short program to its end and return its output.

    Raises ProgramError when it is not there, fails (with `check`) or runs over `timeout` seconds.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=_merged(environment),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as refused:
        raise _not_started(argv, refused) from refused
    except subprocess.TimeoutExpired as late:
        raise ProgramError(f"{command_line(argv)}: no end after {timeout:.0f} s") from late
    if check and done.returncode != 0:
        raise _failed(argv, done.returncode, (done.stderr or done.stdout).splitlines())
    return Finished(status=done.returncode, stdout=done.stdout, stderr=done.stderr)


def stream(
    argv: Sequence[str],
    *,
    on_line: Callable[[str], None],
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> None:
    """Run a long program and hand over each line (stdout and stderr together) as it comes.

    A line of more than LONGEST_LINE characters comes in parts.
    `stdin` is written at once, before any output is read; the program sees its end only when it is over.

    Raises ProgramError with the last lines when it fails, Interrupted after Ctrl-C once it has ended.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=_merged(environment),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
        )
    except OSError as refused:
        raise _not_started(argv, refused) from refused
    with child:
        assert child.stdout is not None  # noqa: S101 - PIPE was asked for
        try:
            if child.stdin is not None:
                _write(child.stdin.fileno(), (stdin or "").encode())
            while raw := child.stdout.readline(LONGEST_LINE):
                line = raw.rstrip("\n")
                last.append(line)
                on_line(line)
            status = child.wait()
        except KeyboardInterrupt:
            child.wait()
            raise Interrupted(f"{argv[0]} was interrupted") from None
    if status != 0:
        raise _failed(argv, status, last)


def serve(argv: Sequence[str], connection: socket.socket) -> None:
    """Let a program talk over a connection until it ends; without such a program the connection just ends."""
    talk = connection.fileno()
    with connection, suppress(OSError):
        subprocess.run(
            argv, stdin=talk, stdout=talk, stderr=subprocess.DEVNULL, start_new_session=True, check=False
        )


class Background:
    """A program that runs in the background, in a session of its own: Ctrl-C does not reach it."""

    def __init__(self, argv: Sequence[str], *, log: Path) -> None:
        """Start it; its output is appended to the file `log`. Raises ProgramError when it is not there."""
        with log.open("ab") as output:
            try:
                self._child = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            except OSError as refused:
                raise _not_started(argv, refused) from refused

    @property
    def pid(self) -> int:
        return self._child.pid

    def ended(self) -> bool:
        return self._child.poll() is not None

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        self._child.kill()
        self._child.wait()

    def wait(self) -> None:
        """Wait for its end."""
        self._child.wait()


class Conversation:
    """A program that is asked and answers, in a session of its own: Ctrl-C does not reach it or its children.

    They end with this object, or by `end`.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        """Start it. Raises ProgramError where it cannot be started."""
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as refused:
            raise _not_started(argv, refused) from refused
        assert child.stdin is not None and child.stdout is not None  # noqa: S101 - PIPE was asked for
        self._child, self._input, self._output = child, child.stdin.fileno(), child.stdout.fileno()
        self._end = weakref.finalize(self, _end_session, child)

    def say(self, words: bytes) -> None:
        """Send `words`; a program that has ended does not hear them."""
        _write(self._input, words)

    def hear(self, *, until: float) -> bytes:
        """Return what it says next; nothing once it has ended.

        Raises TimeoutError when it says nothing before `until`, a time of time.monotonic().
        """
        heard = select.poll()
        heard.register(self._output, select.POLLIN)
        if not heard.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError
        return os.read(self._output, LONGEST_LINE)

    def kill(self) -> None:
        """Kill it and its children; whoever is hearing it hears its end."""
        _kill_session(self._child)

    def end(self, *, grace: float = 0) -> int:
        """Kill it, unless it ends within `grace` seconds, and its children.

        Returns its exit status, negative for the signal that ended it.
        """
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(grace)
        self._end()
        return self._child.returncode


def _kill_session(leader: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(leader.pid, signal.SIGKILL)


def _end_session(leader: subprocess.Popen[bytes]) -> None:
    _kill_session(leader)
    with leader:  # waits for it and closes the pipes
        pass


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C and termination signals. Without effect outside the main thread."""
    with _handling(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM, and SIGHUP of a closed terminal, as Ctrl-C, so that the same clean-up runs.

    Without effect outside the main thread.
    """
    with _handling(signal.default_int_handler, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handling(handler: Callable[..., object] | signal.Handlers, *signals: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _write(descriptor: int, data: bytes) -> None:
    """Write to the descriptor itself: the file object would try again when it is closed."""
    rest = memoryview(data)
    try:
        while rest:
            written = os.write(descriptor, rest)
            rest = rest[written:]
    except BrokenPipeError:
        return  # the program ended without reading it; what it printed says why


def _merged(environment: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if environment is None else {**os.environ, **environment}


def _not_started(argv: Sequence[str], refused: OSError) -> ProgramError:
    """The error for a program that is not there, may not be run, is for another machine, or in no folder."""
    if isinstance(refused, FileNotFoundError) and refused.filename == argv[0]:
        return ProgramError(f"{argv[0]}: no such program on PATH")
    place = str(refused.filename or "")
    hint = step_after(refused, place) if os.sep in place else ""  # a mere name was looked for on PATH
    return ProgramError(f"{argv[0]}: cannot be run: {refused.strerror}", hint=hint)


def _failed(argv: Sequence[str], status: int, lines: Sequence[str] | deque[str]) -> ProgramError:
    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    tail = "\n".join(f"  | {line}" for line in list(lines)[-LAST_LINES:])
    return ProgramError(f"{command_line(argv)}: {how}" + (f"\n{tail}" if tail else ""))
