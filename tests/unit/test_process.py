"""What a program is given on stdin. Real programs, nothing replaced."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from paddock import process
from paddock.errors import ProgramError


def test_stdin_reaches_the_program_and_stays_open() -> None:
    lines: list[str] = []
    program = (
        "import os, select, sys\n"
        "print(os.read(0, 100).decode(), end='')\n"
        "print('open' if not select.select([0], [], [], 0)[0] else 'closed')\n"
    )
    process.stream([sys.executable, "-c", program], on_line=lines.append, stdin="hello\n")
    assert lines == ["hello", "open"]


def test_a_program_that_reads_nothing_fails_with_its_own_words() -> None:
    program = "import sys; print('no room here'); sys.exit(3)"
    with pytest.raises(ProgramError, match="exit status 3\n  \\| no room here"):
        process.stream([sys.executable, "-c", program], on_line=lambda _line: None, stdin="x" * 2_000_000)


def test_without_stdin_there_is_nothing_to_read() -> None:
    lines: list[str] = []
    process.stream([sys.executable, "-c", "print(repr(input()))"], on_line=lines.append, stdin="\n")
    assert lines == ["''"]
    with pytest.raises(ProgramError, match="EOFError"):
        process.stream([sys.executable, "-c", "input()"], on_line=lambda _line: None)


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    with pytest.raises(ProgramError, match="plain: cannot be run: Permission denied"):
        process.capture([str(plain)])
    with pytest.raises(ProgramError, match="plain: cannot be run: Permission denied") as refused:
        process.stream([str(plain)], on_line=lambda _line: None)
    assert refused.value.hint.startswith(f"`ls -ld {plain}` shows whose it is")
    with pytest.raises(ProgramError, match="absent: no such program"):
        process.capture([str(tmp_path / "absent")])
    with pytest.raises(ProgramError, match=r"python.*: cannot be run: No such file"):
        process.stream([sys.executable, "-c", ""], on_line=lambda _line: None, cwd=tmp_path / "absent")


def test_what_runs_beside_us_is_ended_at_once(tmp_path: Path) -> None:
    program = "import time; print('here', flush=True); time.sleep(600)"
    running = process.Background([sys.executable, "-c", program], log=tmp_path / "log")
    assert os.getsid(running.pid) == running.pid
    assert not running.ended()
    running.kill()
    assert running.ended()
    with pytest.raises(ProgramError, match="absent: no such program"):
        process.Background([str(tmp_path / "absent")], log=tmp_path / "log")


def test_a_request_to_end_is_taken_for_ctrl_c_and_ctrl_c_can_be_ignored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), process.termination_as_interrupt():
        with process.ignoring_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_line_without_end_comes_in_parts() -> None:
    lengths: list[int] = []
    program = f"print('x' * {3 * process.LONGEST_LINE + 5})"
    process.stream([sys.executable, "-c", program], on_line=lambda line: lengths.append(len(line)))
    assert lengths == [process.LONGEST_LINE] * 3 + [5]


def test_a_program_is_asked_and_answers() -> None:
    program = "while True: print(input().upper(), flush=True)"
    talk = process.Conversation([sys.executable, "-c", program])
    for words in (b"one\n", b"two\n"):
        talk.say(words)
        heard = b""
        while not heard.endswith(b"\n"):
            heard += talk.hear(until=time.monotonic() + 60)
        assert heard == words.upper()
    with pytest.raises(TimeoutError):
        talk.hear(until=time.monotonic() + 0.1)
    talk.kill()
    assert talk.hear(until=time.monotonic() + 60) == b""
    talk.say(b"three\n")
    assert talk.end() == -signal.SIGKILL


def test_a_program_that_is_asked_ends_with_its_children() -> None:
    talk = process.Conversation([sys.executable, "-c", "import os; os.fork(); print(os.getpid()); input()"])
    heard = b""
    while heard.count(b"\n") < 2:
        heard += talk.hear(until=time.monotonic() + 60)
    del talk
    for pid in map(int, heard.split()):
        wait_for_the_end_of(pid)


def wait_for_the_end_of(pid: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} goes on")
