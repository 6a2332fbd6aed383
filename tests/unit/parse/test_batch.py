"""The batch: what is collected, how many are sent at once, how failures end, and Ctrl-C."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paddock.door import run
from paddock.errors import Interrupted, PreflightError, UsageError
from paddock.parse.batch import Input, collect, parse_all
from paddock.parse.client import Client
from paddock.parse.wire import ParseOptions
from paddock.report import Advance, Unit
from pipeline_api import Command, Faults, Handler, Maker, PipelineApi, Work, statuses
from programs import PADDOCK
from programs import run as run_program
from recording import Recorder

LIMIT = 300  # seconds that a step of another process may take on a busy machine


def names(*paths: str) -> list[str]:
    collected = collect([Path(path) for path in paths], output=Path("out"))
    return [document.name.as_posix() for document in collected.inputs]


# --- collecting ---------------------------------------------------------------------------------------------


def test_folders_are_searched_by_content_and_sorted(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/a", "in/sub/c.png", "in/.hidden.png", "in/.git/d.png"):
        make.image(name)
    make.pdf("in/z.bin", pages=1)
    make.data("in/notes.txt", b"text")
    make.data("in/fake.png", b"text")
    (tmp_path / "in" / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "dangling").symlink_to("nowhere")
    assert names("in") == ["a", "b.png", "dangling.jpg", "fake.png", "z.bin", "sub/c.png"]
    assert collect([Path("in")], output=Path("out")).ignored == 2


def test_each_file_once(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make.image("in/a.png")
    assert names("in/a.png", "in", "./in/../in/a.png") == ["a.png"]


def test_equal_names_are_told_apart(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x/a.png", "y/a.png", "x/b.png", "x/a.pdf", "x/deep/one/c.png", "y/one/c.png"):
        make.image(name)
    assert names("x", "y/a.png") == ["a.pdf", "x/a.png", "b.png", "deep/one/c.png", "y/a.png"]
    assert names("x/deep/one/c.png", "y/one/c.png") == ["deep/one/c.png", "y/one/c.png"]


def test_no_result_lies_inside_another(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make.image("d/x.png")
    make.image("e/x.png/pages")
    assert names("d/x.png", "e") == ["d/x.png", "e/x.png/pages"]


def test_names_never_leave_the_output(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    make.image("a.png")
    make.image("deep/a.png")
    assert names("../a.png", "a.png") == [f"{tmp_path.name}/a.png", "deep/a.png"]


def test_results_are_not_parsed_again(make: Maker, work: Work, tmp_path: Path) -> None:
    make.image("a.png")
    assert statuses(work(".")) == ["done"]
    assert names(".") == ["a.png"]
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert names(".") == ["a.png"]


def test_nothing_to_parse(
    make: Maker, command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make.data("in/notes.txt", b"text")
    assert command("in") == 2
    assert (
        "in: found no documents (1 other files there), expected PDF, PNG, JPEG or TIFF"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
    assert command() == 2


def test_links_are_followed_within_a_folder_only(
    make: Maker, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever may write into a folder of scans does not choose what else of this host is sent."""
    make.image("in/a.png")
    make.image("secret/b.png")
    make.image("c.png")
    for name, target in {
        "in/within.png": "a.png",
        "in/innocent.png": "../secret/b.png",
        "in/folder": "../secret",
        "in/absolute.png": str(tmp_path / "secret/b.png"),
        "in/itself.png": "itself.png",
        "in-link": "in",
        "c-link.png": "c.png",
    }.items():
        (tmp_path / name).symlink_to(target)
    assert names("in") == ["a.png", "itself.png", "within.png"]
    assert names("in-link") == ["a.png", "itself.png", "within.png"]
    assert names("c-link.png") == ["c-link.png"]  # it was named
    (tmp_path / "in/itself.png").unlink()
    assert command("in") == 0
    shown = capsys.readouterr()
    assert "in/innocent.png: left out: it is a link that leads out of the folder that was named" in shown.err
    assert "in/folder: left out" in shown.err
    assert command("in", "--json") == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert [entry["source"] for entry in left_out] == ["in/absolute.png", "in/innocent.png", "in/folder"]
    for link in ("in/a.png", "in/within.png"):
        (tmp_path / link).unlink()
    assert command("in") == 2
    assert "in: found no documents (3 links that lead out of it)" in capsys.readouterr().err


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
    assert "1 done, 0 skipped, 5 failed, 0 unsent" in shown.err
    assert "5 of 6 failed:" in shown.err
    assert "  text.png: found text, expected PDF, PNG, JPEG or TIFF" in shown.err
    assert "  empty.pdf: the file is empty" in shown.err
    assert "  corrupt.pdf: the PDF is damaged" in shown.err
    assert "  blank.pdf: found 0 pages" in shown.err
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
    assert "0 done, 0 skipped, 1 failed, 7 unsent" in shown
    assert "7 more were not sent" in shown
    assert "hint: start a stack with `paddock up`" in shown


def test_an_api_that_wants_a_key_stops_the_batch(
    command: Command, make: Maker, api: PipelineApi, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in range(3):
        make.image(f"in/{number}.png")
    api.refusal = (401, b"")
    assert command("in", "--jobs", "1") == 8
    assert "0 done, 0 skipped, 1 failed, 2 unsent" in capsys.readouterr().err
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


def test_an_output_that_is_a_file(
    command: Command, make: Maker, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make.image("a.png")
    make.data("out", b"")
    assert command("a.png") == 2
    make.image("sub/a.png")
    assert run(["parse", "a.png", "-o", "out/below"]) == 9
    assert "out/below: cannot be written: Not a directory" in capsys.readouterr().err


def test_a_result_that_cannot_be_written(work: Work, make: Maker, tmp_path: Path) -> None:
    make.image("in/sub/a.png")
    make.data("out/sub", b"a file where a folder must be")
    summary = work("in")
    assert isinstance(summary.outcomes[0].error, (PreflightError, UsageError))
    assert (tmp_path / "out/sub").is_file()


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
        def __iter__(self) -> Iterator[Input]:
            yield self[0]
            assert api.received.acquire(timeout=LIMIT)
            raise KeyboardInterrupt

    api.answer = api.hold
    inputs = Interrupting(collect([make.image("a.png"), make.image("b.png")], output=tmp_path / "out").inputs)
    client = Client(api.url, timeout=LIMIT)
    with pytest.raises(Interrupted):
        parse_all(inputs, client=client, output=tmp_path / "out", options=ParseOptions(), report=Recorder())
    assert list((tmp_path / "out").iterdir()) == []
