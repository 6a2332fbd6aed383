"""`paddock parse`: what is collected, what is written, what is done again, and how failures end."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from paddock.door import run
from paddock.errors import PreflightError, UnhealthyError, UsageError
from paddock.parse.batch import Summary, collect, parse_all
from paddock.parse.client import Client
from paddock.parse.results import page_folder
from paddock.parse.wire import ParseOptions

IMAGE_NAME = "imgs/img_in_image_box_1_2_3_4.jpg"


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.advanced: list[int] = []

    def say(self, message: str, /) -> None:
        self.said.append(message)

    def warn(self, message: str, /) -> None:
        self.said.append(message)

    @contextmanager
    def progress(self, label, *, total, unit, done=0):
        self.said.append(f"{label} {total} {unit}")
        yield self.advanced.append


@pytest.fixture
def work(api, tmp_path, monkeypatch):
    """Run the operation in an empty folder, results in `out`."""
    monkeypatch.chdir(tmp_path)

    def parse(*paths: str, jobs: int = 4, force: bool = False, **options: bool) -> Summary:
        output = Path("out")
        found = collect([Path(path) for path in paths], output=output)
        client = Client(api.url, timeout=60, pause=0.01, patience=0.3)
        return parse_all(
            found.inputs,
            client=client,
            output=output,
            options=ParseOptions(**options),
            report=Recorder(),
            force=force,
            jobs=jobs,
        )

    return parse


@pytest.fixture
def command(api, tmp_path, monkeypatch):
    """Run the command in an empty folder; its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDOCK_URL", api.url)

    def parse(*arguments: str) -> int:
        return run(["parse", *arguments, "-o", "out"])

    return parse


def statuses(summary: Summary) -> list[str]:
    return [outcome.status.value for outcome in summary.outcomes]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def names(*paths: str) -> list[str]:
    return [one.name.as_posix() for one in collect([Path(path) for path in paths], output=Path("out")).inputs]


# --- collecting ---------------------------------------------------------------------------------------------


def test_folders_are_searched_by_content_and_sorted(make, tmp_path, monkeypatch):
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


def test_each_file_once(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make.image("in/a.png")
    assert names("in/a.png", "in", "./in/../in/a.png") == ["a.png"]


def test_equal_names_are_told_apart(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/a.png", "y/a.png", "x/b.png", "x/a.pdf", "x/deep/one/c.png", "y/one/c.png"):
        make.image(name)
    assert names("x", "y/a.png") == ["a.pdf", "x/a.png", "b.png", "deep/one/c.png", "y/a.png"]
    assert names("x/deep/one/c.png", "y/one/c.png") == ["deep/one/c.png", "y/one/c.png"]


def test_no_result_lies_inside_another(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make.image("d/x.png")
    make.image("e/x.png/pages")
    assert names("d/x.png", "e") == ["d/x.png", "e/x.png/pages"]


def test_names_never_leave_the_output(make, tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    make.image("a.png")
    make.image("deep/a.png")
    assert names("../a.png", "a.png") == [f"{tmp_path.name}/a.png", "deep/a.png"]


def test_results_are_not_parsed_again(make, work, tmp_path):
    make.image("a.png")
    assert statuses(work(".")) == ["done"]
    assert names(".") == ["a.png"]
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert names(".") == ["a.png"]


def test_nothing_to_parse(make, command, capsys, tmp_path):
    make.data("in/notes.txt", b"text")
    assert command("in") == 2
    assert (
        "in: found no documents (1 other files there), expected PDF, PNG, JPEG or TIFF"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
    assert command() == 2


# --- results ------------------------------------------------------------------------------------------------


def test_what_a_document_becomes(work, make, tmp_path, api):
    make.pdf("a.pdf", pages=2)
    assert statuses(work("a.pdf")) == ["done"]
    folder = tmp_path / "out" / "a.pdf"
    assert files(folder) == [
        ".paddock.json",
        "document.json",
        "document.md",
        f"pages/001/{IMAGE_NAME}",
        "pages/001/layout.jpg",
        "pages/001/page.md",
        f"pages/002/{IMAGE_NAME}",
        "pages/002/layout.jpg",
        "pages/002/page.md",
    ]
    markdown = (folder / "document.md").read_text()
    assert markdown.index("# Page 1") < markdown.index("# Page 2")
    assert "</div>\n\n# Page 2\n" in markdown


def test_every_link_resolves_to_its_own_page(work, make, tmp_path):
    make.pdf("a.pdf", pages=2)
    work("a.pdf")
    folder = tmp_path / "out" / "a.pdf"
    for markdown in (folder / "document.md", folder / "pages/001/page.md", folder / "pages/002/page.md"):
        links = re.findall(r'src="([^"]+)"', markdown.read_text())
        assert links
        assert all((markdown.parent / link).is_file() for link in links)
    first, second = re.findall(r'src="([^"]+)"', (folder / "document.md").read_text())
    assert (folder / first).read_bytes() != (folder / second).read_bytes()


def test_only_links_are_rewritten(work, make, tmp_path, api, faults):
    entry = api.page(1, pictures=False)
    entry["markdown"]["text"] = (
        f"![](<{IMAGE_NAME}>) ![x]({IMAGE_NAME}) the file {IMAGE_NAME} and ![]({IMAGE_NAME}x)"
    )
    result = {"layoutParsingResults": [entry], "dataInfo": {"type": "image"}}
    api.answer = faults.says(200, {"errorCode": 0, "result": result})
    make.image("a.png")
    work("a.png")
    at = f"pages/001/{IMAGE_NAME}"
    text = (tmp_path / "out" / "a.png" / "document.md").read_text()
    assert text == f"![](<{at}>) ![x]({at}) the file {IMAGE_NAME} and ![]({IMAGE_NAME}x)\n"


def test_the_json_has_paths_instead_of_base64(work, make, tmp_path):
    make.image("a.png")
    work("a.png")
    folder = tmp_path / "out" / "a.png"
    found = json.loads((folder / "document.json").read_text())
    (page,) = found["layoutParsingResults"]
    assert found["dataInfo"] == {"type": "image", "width": 8, "height": 8}
    assert page["prunedResult"]["parsing_res_list"] == [{"block_id": 0}]
    assert page["markdown"]["images"] == {IMAGE_NAME: f"pages/001/{IMAGE_NAME}"}
    assert page["outputImages"] == {"layout_det_res": "pages/001/layout.jpg"}
    assert "inputImage" not in page


def test_page_folders_sort_beyond_999():
    assert page_folder(1, 999) == "pages/001"
    names = [page_folder(number, 1000) for number in range(1, 1001)]
    assert names == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "/etc/evil.jpg",
        "imgs/../../evil.jpg",
        "imgs\\evil.jpg",
        ".paddock.json",
        "",
        "a//b.jpg",
        "a\0b",
    ],
)
def test_an_image_name_that_would_leave_the_folder(work, make, tmp_path, api, faults, name):
    entry = api.page(1, pictures=False)
    entry["markdown"]["images"] = {name: ""}
    api.answer = faults.says(
        200, {"errorCode": 0, "result": {"layoutParsingResults": [entry], "dataInfo": {}}}
    )
    make.image("a.png")
    summary = work("a.png")
    assert "named an image" in summary.outcomes[0].error.message
    assert isinstance(summary.failure(), UnhealthyError)
    assert files(tmp_path) == ["a.png"]
    assert list((tmp_path / "out").iterdir()) == []


def test_names_that_are_not_utf8_and_very_long(command, make, tmp_path, capsys):
    odd = os.fsdecode(b"caf\xe9.png")
    long = "x" * 251 + ".png"
    make.image(odd)
    make.image(long)
    assert command(odd, long, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["documents"][0]["source"] == "caf\ufffd.png"
    assert (tmp_path / "out" / odd / "document.md").is_file()
    assert (tmp_path / "out" / long / "document.md").is_file()


def test_no_pictures(command, make, tmp_path):
    make.image("a.png")
    assert command("a.png", "--no-pictures", "--restructure") == 0
    assert "pages/001/layout.jpg" not in files(tmp_path / "out" / "a.png")


# --- doing it again -----------------------------------------------------------------------------------------


def test_finished_documents_are_not_sent_again(work, make, api):
    make.image("a.png")
    make.pdf("b.pdf", pages=3)
    assert statuses(work("a.png")) == ["done"]
    again = work("a.png", "b.pdf")
    assert statuses(again) == ["skipped", "done"]
    assert [outcome.pages for outcome in again.outcomes] == [1, 3]
    assert len(api.requests) == 2
    os.utime("a.png", (1, 1))  # another time, the same bytes
    assert statuses(work("a.png", "b.pdf")) == ["skipped", "skipped"]


def test_a_changed_document_is_sent_again(work, make, tmp_path):
    make.pdf("a.pdf", pages=3)
    work("a.pdf")
    make.pdf("a.pdf", pages=1)
    assert statuses(work("a.pdf")) == ["done"]
    assert [path.name for path in (tmp_path / "out/a.pdf/pages").iterdir()] == ["001"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.pdf"]


def test_other_options_a_lost_file_and_force_send_it_again(work, make, tmp_path):
    make.image("a.png")
    work("a.png")
    assert statuses(work("a.png", restructure=True)) == ["done"]
    assert statuses(work("a.png", restructure=True)) == ["skipped"]
    (tmp_path / "out/a.png/pages/001/page.md").unlink()
    assert statuses(work("a.png", restructure=True)) == ["done"]
    assert statuses(work("a.png", restructure=True, force=True)) == ["done"]


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"format": 1}', "\0"])
def test_a_folder_that_is_not_ours_is_not_touched(work, make, tmp_path, record, api):
    make.image("a.png")
    mine = make.data("out/a.png/precious.txt", b"mine")
    make.data("out/a.png/.paddock.json", record.encode())
    summary = work("a.png")
    assert "was not written by `paddock parse`" in summary.outcomes[0].error.message
    assert mine.read_bytes() == b"mine"
    assert api.requests == []


def test_leftovers_of_a_killed_run_go_away(work, make, tmp_path):
    make.image("a.png")
    work("a.png")
    tag = hashlib.sha256(b"a.png").hexdigest()[:16]
    for kind in ("partial", "older"):
        make.data(f"out/.{kind}-{tag}/document.md", b"half")
    assert statuses(work("a.png", force=True)) == ["done"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_a_failed_document_keeps_its_older_result(work, make, tmp_path, api, faults):
    make.image("a.png")
    work("a.png")
    before = (tmp_path / "out/a.png/document.md").read_bytes()
    api.answer = faults.fails(500, "Internal server error")
    assert statuses(work("a.png", force=True)) == ["failed"]
    assert (tmp_path / "out/a.png/document.md").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


# --- several at once, and failures --------------------------------------------------------------------------


def test_no_more_than_jobs_at_once(work, make, api):
    for number in range(12):
        make.image(f"in/{number}.png")
    assert statuses(work("in", jobs=3)) == ["done"] * 12
    assert 1 <= api.most_together <= 3


def test_jobs_run_side_by_side(work, make, api):
    for number in range(3):
        make.image(f"in/{number}.png")

    def wait_for_three(handler, request):
        if api.together == 3:
            api.held.set()
        api.hold(handler, request)

    api.answer = wait_for_three
    work("in", jobs=3)
    assert api.most_together == 3


def test_one_bad_file_does_not_stop_the_rest(command, make, capsys, tmp_path):
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


def test_the_api_fails_for_one(command, make, api, faults, capsys):
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


def test_an_api_that_is_not_there_stops_the_batch(command, make, api, capsys):
    for number in range(8):
        make.image(f"in/{number}.png")
    api.stop()
    assert command("in", "--jobs", "1") == 8
    shown = capsys.readouterr().err
    assert "0 done, 0 skipped, 1 failed, 7 unsent" in shown
    assert "7 more were not sent" in shown
    assert "hint: start a stack with `paddock up`" in shown


def test_pages_that_are_missing_are_an_error(command, make, api, capsys, tmp_path):
    make.pdf("a.pdf", pages=11)
    api.page_limit = 10
    assert command("a.pdf") == 8
    assert "found 10, expected 11" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    api.page_limit = None
    assert command("a.pdf") == 0
    assert len(list((tmp_path / "out/a.pdf/pages").iterdir())) == 11


def test_an_output_that_is_a_file(command, make, capsys, tmp_path):
    make.image("a.png")
    make.data("out", b"")
    assert command("a.png") == 2
    make.image("sub/a.png")
    assert run(["parse", "a.png", "-o", "out/below"]) == 9
    assert "out/below: cannot be written: Not a directory" in capsys.readouterr().err


def test_a_result_that_cannot_be_written(work, make, tmp_path):
    make.image("in/sub/a.png")
    make.data("out/sub", b"a file where a folder must be")
    summary = work("in")
    assert isinstance(summary.outcomes[0].error, (PreflightError, UsageError))
    assert (tmp_path / "out/sub").is_file()


def test_two_runs_do_not_write_to_one_folder(command, make, tmp_path, capsys):
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


def test_progress_counts_every_file(api, make, tmp_path):
    inputs = collect([make.image("a.png"), make.data("b.png", b"text")], output=tmp_path / "out").inputs
    report = Recorder()
    client = Client(api.url, timeout=60)
    parse_all(inputs, client=client, output=tmp_path / "out", options=ParseOptions(), report=report)
    assert report.said == ["parsing 2 files"]
    assert report.advanced == [1, 1]


def test_a_broken_reporter_does_not_leave_threads_waiting(api, make, tmp_path):
    class Broken(Recorder):
        @contextmanager
        def progress(self, label, *, total, unit, done=0):
            assert api.received.acquire(timeout=30)
            yield self._fail

        def _fail(self, amount):
            raise AssertionError

    api.next.extend([api.parse, api.hold])
    inputs = collect([make.image("a.png"), make.image("b.png")], output=tmp_path / "out").inputs
    client = Client(api.url, timeout=60)
    with pytest.raises(AssertionError):
        parse_all(inputs, client=client, output=tmp_path / "out", options=ParseOptions(), report=Broken())


def test_the_port_comes_from_the_environment(make, monkeypatch, tmp_path, api, capsys):
    monkeypatch.chdir(tmp_path)
    make.image("a.png")
    monkeypatch.delenv("PADDOCK_URL", raising=False)
    monkeypatch.setenv("API_PORT", str(api.port))
    assert run(["parse", "a.png", "-o", "out"]) == 0
    monkeypatch.setenv("API_PORT", "0x1")
    assert run(["parse", "a.png", "-o", "out", "--force"]) == 2
    assert "http://127.0.0.1:0x1: not a URL" in capsys.readouterr().err


# --- Ctrl-C -------------------------------------------------------------------------------------------------


def test_interrupt_leaves_nothing_half_written_and_the_next_run_goes_on(api, make, tmp_path):
    for number in range(6):
        make.image(f"in/{number}.png", shade=number)
    api.next.extend([api.parse, api.hold])
    api.answer = api.hold
    arguments = [sys.executable, "-m", "paddock", "parse", "in", "-o", "out", "--url", api.url, "--jobs", "2"]
    child = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(3):
            assert api.received.acquire(timeout=60)  # the third comes once the first is finished
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    assert "error: parse: interrupted before all 6 documents were finished" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    (finished,) = (tmp_path / "out").iterdir()
    assert (finished / "document.md").is_file()
    api.held.set()
    again = subprocess.run([*arguments, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {key: json.loads(again.stdout)[key] for key in ("done", "skipped")} == {"done": 5, "skipped": 1}
