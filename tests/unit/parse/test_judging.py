"""Judges that crash, hang, lie or cannot be started, and one that works; all of them are real programs."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.errors import Interrupted, PaddockError, PreflightError, UsageError
from paddock.parse.judging import Judging
from paddock.parse.questions import Task
from pipeline_api import Maker
from samples.convertible import coded

GOOD = 'print(\'{"pages": 1, "what": "", "notes": []}\', flush=True)'
CRASH = "os.kill(os.getpid(), signal.SIGSEGV)"


def judge(*answers: str, seconds: float = 60) -> Judging:
    """A judge that does one of `answers` for each question, then no more."""
    lines = ["import os, signal, sys, time", *(f"input(); {answer}" for answer in answers), "input()"]
    return Judging((sys.executable, "-c", "\n".join(lines)), dict.fromkeys(Task, seconds))


def refusal(judging: Judging) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        judging.look(Path("a.pdf"), Task.PDF)
    return caught.value


@pytest.fixture
def judging() -> Iterator[Judging]:
    real = Judging()
    yield real
    real.abort()


def test_one_process_answers_for_all_files(make: Maker, judging: Judging) -> None:
    path = make.pdf("a.pdf", pages=3)
    began = time.monotonic()
    first = judging.look(path, Task.PDF)
    started = time.monotonic() - began
    began = time.monotonic()
    for _ in range(20):
        assert judging.look(path, Task.PDF) == first
    assert time.monotonic() - began < 20 * started / 2
    assert first.pages == 3


def test_what_it_makes_has_no_name_any_more(make: Maker, judging: Judging, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    verdict, made = judging.convert(make.data("a.gif", coded("GIF")), Task.PICTURE)
    assert verdict.pages == 1
    for _ in range(2):
        with made.open() as file:
            assert file.read(4) == b"\x89PNG"
            assert len(file.read()) == made.size - 4
    assert set(tmp_path.iterdir()) == before | {tmp_path / "a.gif"}


def test_a_crash_costs_one_file() -> None:
    crashing = judge(CRASH)
    assert isinstance(refused := refusal(crashing), UsageError)
    assert "was ended by signal 11: the file is damaged" in refused.message
    assert "print or export it to a new PDF" in refused.hint
    once = judge(GOOD, CRASH)
    assert once.look(Path("a"), Task.PDF).pages == 1
    assert (
        once.look(Path("a"), Task.PDF).pages == 1
    )  # it ended while nothing was asked, as far as one can see
    assert "signal" in refusal(judge(CRASH)).message


def test_one_that_does_not_end_is_ended_with_its_children() -> None:
    slow = judge("os.fork(); time.sleep(60)", seconds=0.5)
    began = time.monotonic()
    assert "did not come to an end in 0.5 s" in refusal(slow).message
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("said", ["no JSON", "[]", '{"pages": "many", "what": "", "notes": []}'])
def test_what_is_no_answer_is_no_verdict(said: str) -> None:
    refused = refusal(judge(f"print({said!r}, flush=True)"))
    assert isinstance(refused, UsageError)
    assert "gave no answer" in refused.message


def test_an_installation_that_is_not_whole_is_not_the_file_s_fault() -> None:
    refused = refusal(judge("os.close(1); time.sleep(0.2); sys.exit(3)"))
    assert isinstance(refused, PreflightError)
    assert "ended with exit status 3" in refused.message
    assert "install paddock again" in refused.hint
    assert isinstance(refusal(Judging(("/no/such/program",))), PreflightError)


def test_no_room_for_what_it_makes() -> None:
    refused = refusal(judge('print(\'{"lacking": "No space left on device"}\', flush=True)'))
    assert isinstance(refused, PreflightError)
    assert "TMPDIR" in refused.hint


def test_abort_ends_what_is_asked_and_what_waits_for_its_turn() -> None:
    slow, ends = judge("time.sleep(60)"), list[BaseException]()

    def ask() -> None:
        try:
            slow.look(Path("a"), Task.PDF)
        except Interrupted as end:
            ends.append(end)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    slow.abort()
    for thread in threads:
        thread.join(10)
    assert len(ends) == 3


def test_it_ends_with_the_process_that_asks(make: Maker, tmp_path: Path) -> None:
    """And neither PDFium nor Pillow is ever loaded there."""
    make.pdf("a.pdf", pages=1)
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the current folder was run')")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from paddock.parse.document import inspect\n"
        "assert inspect(Path('a.pdf')).pages == 1\n"
        "assert not {'pypdfium2', 'PIL', 'pi_heif'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
