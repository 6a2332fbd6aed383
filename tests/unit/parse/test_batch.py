"""The batch: how many are sent at once, how failures and losses end, and Ctrl-C."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from paddock.door import run
from paddock.errors import Interrupted, PreflightError, UsageError
from paddock.parse.batch import parse_all
from paddock.parse.client import Client
from paddock.parse.collecting import Input, collect
from paddock.parse.wire import ParseOptions
from paddock.report import Advance, Unit
from pipeline_api import Answer, Command, Faults, Handler, Maker, PipelineApi, Work, error_of, statuses
from programs import PADDOCK
from programs import run as run_program
from recording import Recorder

LIMIT = 300  # seconds that a step of another process may take on a busy machine


# --- several at once, and failures --------------------------------------------------------------------------


def test_no_more_than_jobs_at_once(work: Work, make: Maker, api: PipelineApi) -> None:
    for number in range(12):
        make.image(f"in/{number}.png")
    assert statuses(work("in", jobs=3)) == ["done"] * 12
    assert 1 <= api.most_together <= 3


def test_jobs_run_side_by_side(work: Work, make: Maker, api: PipelineApi) -> None:
    for number in range(3):
        make.image(f"in/{number}.png")

    def wait_for_three(handler: Handler, request: dict[str, object]) -> None:
        if api.together == 3:
            api.held.set()
        api.hold(handler, request)

    api.answer = wait_for_three
    work("in", jobs=3)
    assert api.most_together == 3


def test_one_bad_file_does_not_stop_the_rest(
    command: Command, make: Maker, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make.image("good.png")
    make.data("text.png", b"words")
    make.data("empty.pdf", b"")
    make.data("corrupt.pdf", b"%PDF-1.7\nnothing\n")
    make.pdf("blank.pdf", pages=0)
    assert command("good.png", "text.png", "empty.pdf", "corrupt.pdf", "blank.pdf", "gone.png") == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["STATUS  PAGES  RESULT", "done    1      out/good.png/document.md"]
    assert "1 done, 0 partly, 0 skipped, 5 failed, 0 unsent, 0 with warnings, 0 left out" in shown.err
    assert "5 of 6 failed:" in shown.err
    assert "  text.png: found text, expected a PDF" in shown.err
    assert "  empty.pdf: the file is empty" in shown.err
    assert "  corrupt.pdf: the PDF is damaged" in shown.err
    assert "  blank.pdf: " in shown.err
    assert "  gone.png: no such file" in shown.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.png"]


def test_the_api_fails_for_one(
    command: Command, make: Maker, api: PipelineApi, faults: type[Faults], capsys: pytest.CaptureFixture[str]
) -> None:
    make.image("a.png")
    make.image("b.png")
    api.next.append(faults.fails(500, "Internal server error"))
    assert command("a.png", "b.png", "--jobs", "1", "--json") == 8
    shown = capsys.readouterr()
    summary = json.loads(shown.out)
    assert {key: summary[key] for key in ("url", "done", "failed", "skipped", "unsent")} == {
        "url": api.url,
        "done": 1,
        "failed": 1,
        "skipped": 0,
        "unsent": 0,
    }
    assert [document["status"] for document in summary["documents"]] == ["failed", "done"]
    assert "VLM server" in summary["documents"][0]["reason"]
    assert "paddock status" in summary["documents"][0]["hint"]
    assert summary["documents"][1] == {
        "source": "b.png",
        "status": "done",
        "folder": "out/b.png",
        "pages": 1,
        "converted_from": None,
        "notes": [],
        "problems": [],
        "reason": None,
        "hint": None,
    }
    assert "a.png: http://" in shown.err


def test_an_api_that_is_not_there_stops_the_batch(
    command: Command, make: Maker, api: PipelineApi, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        make.image(f"in/{number}.png")
    api.stop()
    assert command("in", "--jobs", "1") == 8
    shown = capsys.readouterr().err
    assert "0 done, 0 partly, 0 skipped, 1 failed, 7 unsent" in shown
    assert "7 more were not sent" in shown
    assert "hint: start a stack with `paddock up TARGET`" in shown


def test_an_api_that_wants_a_key_stops_the_batch(
    command: Command, make: Maker, api: PipelineApi, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in range(3):
        make.image(f"in/{number}.png")
    api.refusal = (401, b"")
    assert command("in", "--jobs", "1") == 8
    assert "0 done, 0 partly, 0 skipped, 1 failed, 2 unsent" in capsys.readouterr().err
    api.refusal = None
    key = make.data("key", b"pk_secret_of_mine\n")
    assert command("in", "--key-file", str(key), "--json") == 0
    printed = capsys.readouterr()
    assert api.headers[-1]["Authorization"] == "Bearer pk_secret_of_mine"
    assert "others on this machine can read this key" in printed.err
    results = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"pk_secret" not in results + (printed.out + printed.err).encode()


def test_a_key_that_would_go_to_another_host_unencrypted(
    command: Command, make: Maker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make.image("a.png")
    monkeypatch.setenv("PADDOCK_KEY_FILE", str(make.data("key", b"pk_secret_of_mine")))
    for url, warned in {
        "http://pipeline.invalid": True,
        "https://pipeline.invalid": False,
        "http://127.0.0.1:9": False,
    }.items():
        assert command("a.png", "--url", url) == 8
        assert ("a key or password goes there unencrypted" in capsys.readouterr().err) is warned
    monkeypatch.delenv("PADDOCK_KEY_FILE")
    assert command("a.png", "--url", "http://me:secret@pipeline.invalid") == 8
    said = capsys.readouterr().err
    assert "a key or password goes there unencrypted" in said
    assert "secret" not in said


def test_pages_that_are_missing_are_an_error(
    command: Command, make: Maker, api: PipelineApi, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make.pdf("a.pdf", pages=11)
    api.page_limit = 10
    assert command("a.pdf") == 8
    assert "found 10, expected 11" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    api.page_limit = None
    assert command("a.pdf") == 0
    assert len(list((tmp_path / "out/a.pdf/pages").iterdir())) == 11


# --- pages that were not read, or not well ------------------------------------------------------------------

FAILED = {"kind": "failed", "severity": "failed", "message": "the VLM server refused it"}
UNREADABLE = {"kind": "unreadable", "severity": "failed", "message": "the page's box is empty"}
CUT = {"kind": "cut-short", "severity": "warning", "message": "it stopped at its limit"}


def judged(api: PipelineApi, *problems: Sequence[Mapping[str, str]]) -> Answer:
    """An answer with a page for each list of problems."""
    pages = [
        api.page(number, pictures=False) | ({"problems": list(found)} if found else {})
        for number, found in enumerate(problems, 1)
    ]
    answer = {"errorCode": 0, "result": {"layoutParsingResults": pages, "dataInfo": {"type": "pdf"}}}
    return lambda handler, _request: handler.write(200, json.dumps(answer).encode(), X_Paddock_Pages="judged")


@pytest.mark.parametrize(("problem", "status"), [(FAILED, 8), (UNREADABLE, 2)])
def test_a_page_that_was_not_read_is_a_failure_and_tried_again(
    command: Command,
    make: Maker,
    api: PipelineApi,
    problem: Mapping[str, str],
    status: int,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    make.pdf("a.pdf", pages=3)
    api.answer = judged(api, [], [problem], [problem, CUT])
    assert command("a.pdf") == status
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1:] == ["partly  3      out/a.pdf/document.md"]
    assert "warning: a.pdf: page 3: it stopped at its limit\n" in shown.err
    assert "0 done, 1 partly, 0 skipped, 0 failed, 0 unsent, 1 with warnings, 0 left out" in shown.err
    message = f"a.pdf: 2 of 3 pages were not read: page 2: {problem['message']}; and 1 more"
    assert f"error: 1 of 1 failed:\n  {message}\n" in shown.err
    assert "# Page 1" in (tmp_path / "out/a.pdf/document.md").read_text()
    entries = json.loads((tmp_path / "out/a.pdf/document.json").read_text())["layoutParsingResults"]
    assert [entry.get("problems") for entry in entries] == [None, [problem], [problem, CUT]]
    assert command("a.pdf", "--json") == status
    (document,) = json.loads(capsys.readouterr().out)["documents"]
    assert (document["status"], document["pages"], document["reason"]) == ("partly", 3, message)
    assert document["problems"] == [{"page": 2, **problem}, {"page": 3, **problem}, {"page": 3, **CUT}]
    api.answer, before = api.parse, len(api.requests)
    assert [command("a.pdf"), command("a.pdf")] == [0, 0]
    assert len(api.requests) == before + 1
    assert "skipped  3      out/a.pdf/document.md" in capsys.readouterr().out


def test_warnings_are_failures_only_with_strict(
    command: Command, make: Maker, api: PipelineApi, capsys: pytest.CaptureFixture[str]
) -> None:
    make.pdf("in/a.pdf", pages=2)
    api.answer = judged(api, [CUT], [CUT])
    assert command("in") == 0
    assert "warning: in/a.pdf: page 1: it stopped at its limit; and 1 more" in capsys.readouterr().err
    assert command("in", "--json") == 0  # what is finished keeps them
    (document,) = json.loads(capsys.readouterr().out)["documents"]
    assert (document["status"], [found["page"] for found in document["problems"]]) == ("skipped", [1, 2])
    assert command("in", "--strict") == 8
    assert (
        "1 of 1 failed:\n  in/a.pdf: page 1: it stopped at its limit; and 1 more" in capsys.readouterr().err
    )
    assert len(api.requests) == 1


def test_links_that_are_left_out_are_failures_only_with_strict(
    command: Command, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make.image("in/a.png")
    (tmp_path / "in/b.png").symlink_to(make.image("b.png"))
    assert command("in") == 0
    assert command("in", "--strict") == 2
    assert "1 link(s) were left out, expected none with --strict" in capsys.readouterr().err


def test_what_a_document_was_made_of_is_said(
    work: Work, make: Maker, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    make.image("a.bmp", kind="BMP")
    assert command("a.bmp") == 0
    assert "a.bmp: " in capsys.readouterr().err
    assert command("a.bmp", "--json") == 0
    (document,) = json.loads(capsys.readouterr().out)["documents"]
    assert document["status"] == "skipped"
    assert "BMP" in document["converted_from"]
    assert document["notes"]
    assert statuses(work("a.bmp", force=True)) == ["done"]


# --- places that cannot be written --------------------------------------------------------------------------


def test_an_output_that_is_a_file(
    command: Command, make: Maker, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make.image("a.png")
    make.data("out", b"")
    assert command("a.png") == 2
    make.image("sub/a.png")
    assert run(["parse", "a.png", "-o", "out/below"]) == 9
    assert "out/below: leads through a file, expected folders only" in capsys.readouterr().err


def test_a_result_that_cannot_be_written(work: Work, make: Maker, tmp_path: Path) -> None:
    make.image("in/sub/a.png")
    make.data("out/sub", b"a file where a folder must be")
    summary = work("in")
    assert isinstance(summary.outcomes[0].error, (PreflightError, UsageError))
    assert (tmp_path / "out/sub").is_file()


# What is run in a process of its own, in which the system refuses to make folders of results.
REFUSING = """
import os, sys
from paddock.door import run

def refuse(event, arguments):
    if event == "os.mkdir" and "partial" in str(arguments[0]):
        raise OSError(int(sys.argv[1]), os.strerror(int(sys.argv[1])), arguments[0])

sys.addaudithook(refuse)
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("number", "failed", "unsent"), [(errno.ENOSPC, 1, 3), (errno.EROFS, 1, 3), (errno.ENAMETOOLONG, 4, 0)]
)
def test_a_disk_that_is_full_stops_the_batch(
    api: PipelineApi, make: Maker, tmp_path: Path, number: int, failed: int, unsent: int
) -> None:
    for name in range(4):
        make.image(f"in/{name}.png")
    command = ["parse", "in", "-o", "out", "--url", api.url, "--jobs", "1", "--json"]
    done = run_program(sys.executable, "-c", REFUSING, str(number), *command, cwd=tmp_path)
    assert done.returncode == 9, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["failed"], summary["unsent"]) == (failed, unsent)
    assert "Traceback" not in done.stderr
    assert "hint: " in done.stderr
    assert len(api.requests) == failed
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.needs("setpriv")
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_sent(
    api: PipelineApi, make: Maker, tmp_path: Path
) -> None:
    make.image("a.png")
    (tmp_path / "out").mkdir(0o555)
    as_anybody = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    command = ("parse", "a.png", "-o", "out", "--url", api.url)
    done = run_program(*as_anybody, *PADDOCK, *command, cwd=tmp_path)
    assert done.returncode == 9
    assert done.stderr.splitlines()[0] == "error: out: this user may not use it"
    assert api.requests == []


@pytest.mark.needs("prlimit")
@pytest.mark.parametrize(("files", "status"), [(6, 9), (64, 0)])
def test_few_files_may_be_open(
    api: PipelineApi, make: Maker, tmp_path: Path, files: int, status: int
) -> None:
    """Fewer documents are sent at a time; where it is too few for one, no document is blamed."""
    for name in range(12):
        make.image(f"in/{name}.png")
    command = ("parse", "in", "-o", "out", "--url", api.url, "--jobs", "12")
    done = run_program("prlimit", f"--nofile={files}:{files}", *PADDOCK, *command, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    if status:
        assert "this process may not open more files" in done.stderr
        assert done.stderr.count("hint: ") == 1
        return
    assert "warning: --jobs 5, not 12: this process may open 64 files at most (`ulimit -n`)" in done.stderr
    assert api.most_together <= 5


def test_a_result_never_takes_the_place_of_one_whose_name_only_differs_in_case(
    work: Work, make: Maker, tmp_path: Path
) -> None:
    """As on a disk on which the folder of one is there under the name of the other."""
    make.image("Scan.png")
    make.image("scan.png", shade=1)
    assert statuses(work("Scan.png")) == ["done"]
    (tmp_path / "out/Scan.png").rename(tmp_path / "out/scan.png")
    before = (tmp_path / "out/scan.png/.paddock.json").read_bytes()
    summary = work("scan.png")
    message = error_of(summary).message
    assert message.startswith(
        "out/scan.png: is there already as the result of Scan.png: this disk takes both"
    )
    assert (tmp_path / "out/scan.png/.paddock.json").read_bytes() == before


def test_two_runs_do_not_write_to_one_folder(
    command: Command, make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make.image("a.png")
    (tmp_path / "out").mkdir()
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert command("a.png") == 9
    finally:
        os.close(descriptor)
    assert "another `paddock parse` is writing there" in capsys.readouterr().err
    assert command("a.png") == 0


def test_progress_counts_every_file(api: PipelineApi, make: Maker, tmp_path: Path) -> None:
    inputs = collect([make.image("a.png"), make.data("b.png", b"text")], output=tmp_path / "out").inputs
    report = Recorder()
    client = Client(api.url, timeout=60)
    parse_all(inputs, client=client, output=tmp_path / "out", options=ParseOptions(), report=report)
    (bar,) = report.bars
    assert (bar.label, bar.total, bar.unit, bar.at) == ("parsing", 2, "files", 2)


def test_a_broken_reporter_does_not_leave_threads_waiting(
    api: PipelineApi, make: Maker, tmp_path: Path
) -> None:
    class Broken(Recorder):
        @contextmanager
        def progress(self, label: str, *, total: int | None, unit: Unit, done: int = 0) -> Iterator[Advance]:
            assert api.received.acquire(timeout=LIMIT)
            yield self._fail

        def _fail(self, amount: int, /) -> None:
            raise AssertionError

    api.next.extend([api.parse, api.hold])
    inputs = collect([make.image("a.png"), make.image("b.png")], output=tmp_path / "out").inputs
    client = Client(api.url, timeout=60)
    with pytest.raises(AssertionError):
        parse_all(inputs, client=client, output=tmp_path / "out", options=ParseOptions(), report=Broken())


def test_the_port_comes_from_the_environment(
    make: Maker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    api: PipelineApi,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make.image("a.png")
    monkeypatch.delenv("PADDOCK_URL", raising=False)
    monkeypatch.setenv("API_PORT", str(api.port))
    assert run(["parse", "a.png", "-o", "out"]) == 0
    monkeypatch.setenv("API_PORT", "0x1")
    assert run(["parse", "a.png", "-o", "out", "--force"]) == 2
    assert "http://127.0.0.1:0x1: not a URL" in capsys.readouterr().err


# --- Ctrl-C -------------------------------------------------------------------------------------------------


def test_interrupt_leaves_nothing_half_written_and_the_next_run_goes_on(
    api: PipelineApi, make: Maker, tmp_path: Path
) -> None:
    for number in range(6):
        make.image(f"in/{number}.png", shade=number)
    api.next.extend([api.parse, api.hold])
    api.answer = api.hold
    arguments = [*PADDOCK, "parse", "in", "-o", "out", "--url", api.url, "--jobs", "2"]
    child = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(3):
            assert api.received.acquire(timeout=LIMIT)  # the third comes once the first is finished
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=LIMIT)
    finally:
        child.kill()
    assert child.returncode == 130
    assert "error: parse: interrupted before all 6 documents were finished" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    (finished,) = (tmp_path / "out").iterdir()
    assert (finished / "document.md").is_file()
    api.held.set()
    again = run_program(*arguments, "--json", cwd=tmp_path, limit=LIMIT)
    assert again.returncode == 0, again.stderr
    assert {key: json.loads(again.stdout)[key] for key in ("done", "skipped")} == {"done": 5, "skipped": 1}


def test_an_interrupt_while_documents_are_handed_out_leaves_no_thread_waiting(
    api: PipelineApi, make: Maker, tmp_path: Path
) -> None:
    """Ctrl-C may come before the last document is handed to the pool, while others already wait."""

    class Interrupting(list[Input]):
        looked_at = False  # before any is handed out, the names of all are looked at

        def __iter__(self) -> Iterator[Input]:
            yield self[0]
            if not self.looked_at:
                self.looked_at = True
                yield from self[1:]
                return
            assert api.received.acquire(timeout=LIMIT)
            raise KeyboardInterrupt

    api.answer = api.hold
    inputs = Interrupting(collect([make.image("a.png"), make.image("b.png")], output=tmp_path / "out").inputs)
    client = Client(api.url, timeout=LIMIT)
    with pytest.raises(Interrupted):
        parse_all(inputs, client=client, output=tmp_path / "out", options=ParseOptions(), report=Recorder())
    assert list((tmp_path / "out").iterdir()) == []
