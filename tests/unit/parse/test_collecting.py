"""Which documents there are: what is collected from folders, what is left out and why, and their names."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from paddock.parse.collecting import Reason, collect
from pipeline_api import Command, Maker, PipelineApi, Work, statuses
from programs import PADDOCK, run


def names(*paths: str) -> list[str]:
    collected = collect([Path(path) for path in paths], output=Path("out"))
    return [document.name.as_posix() for document in collected.inputs]


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
    collected = collect([Path("in")], output=Path("out"))
    assert {entry.path.as_posix(): entry.reason for entry in collected.left_out} == {
        "in/notes.txt": Reason.OTHER,
        "in/dangling": Reason.OTHER,
        "in/.hidden.png": Reason.HIDDEN,
        "in/.git": Reason.HIDDEN,
    }


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
    assert "in: found no documents (1 other files there), expected a PDF" in capsys.readouterr().err
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
    assert [entry["source"] for entry in left_out] == ["in/absolute.png", "in/folder", "in/innocent.png"]
    for link in ("in/a.png", "in/within.png"):
        (tmp_path / link).unlink()
    assert command("in") == 2
    assert "in: found no documents (3 links that lead out of it)" in capsys.readouterr().err


def test_folders_behind_links_are_read_once(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links in a circle, to folders that are read anyway, and to one that only links lead to."""
    monkeypatch.chdir(tmp_path)
    make.image("in/sub/a.png")
    make.image("in/.store/2025/b.png")
    for name, target in {
        "in/again": "sub",
        "in/circle": ".",
        "in/sub/up": "..",
        "in/2025": ".store/2025",
        "in/also-2025": ".store/2025",
        "in/nowhere": "not there",
        "in/self": "self",
    }.items():
        (tmp_path / name).symlink_to(target)
    collected = collect([Path("in")], output=Path("out"))
    assert [document.name.as_posix() for document in collected.inputs] == ["self", "sub/a.png", "2025/b.png"]
    assert [path.as_posix() for path in collected.left_out_as(Reason.SEEN)] == [
        "in/again",
        "in/also-2025",
        "in/circle",
        "in/sub/up",
    ]


def test_what_is_left_out_has_its_reason(
    make: Maker, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make.image("in/a.png")
    assert statuses(work("in")) == ["done"]
    (tmp_path / "out").rename(tmp_path / "in" / "results")
    (tmp_path / "in/out").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("in/socket")
        collected = collect([Path("in")], output=Path("in/out"))
    assert [document.name.as_posix() for document in collected.inputs] == ["a.png"]
    assert {entry.path.as_posix(): entry.reason for entry in collected.left_out} == {
        "in/pipe.png": Reason.SPECIAL,
        "in/socket": Reason.SPECIAL,
        "in/out": Reason.OUTPUT,
        "in/results/a.png": Reason.RESULT,
    }


def test_a_folder_deeper_than_a_path_can_be_long(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deeper than Python calls itself, and then deeper than any path leads."""
    monkeypatch.chdir(tmp_path)
    make.image("in/a.png")
    os.chdir("in")
    for _ in range(2100):
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(tmp_path)
    try:
        first, unread = collect([Path("in")], output=Path("out")).inputs
    finally:
        subprocess.run(["rm", "-r", "in"], check=True)  # Python's own way does not go so deep
    assert (first.name.as_posix(), first.refused) == ("a.png", None)
    assert unread.refused is not None
    assert unread.refused.message.endswith("this folder cannot be read: File name too long")


# Root may read everything, but not without these capabilities.
AS_ANYBODY = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


@pytest.mark.needs("setpriv")
def test_what_cannot_be_read_costs_only_itself(api: PipelineApi, make: Maker, tmp_path: Path) -> None:
    for name in ("in/good.png", "in/locked.png", "in/locked", "in/closed/a.png", "in/listed/b.png", "n.png"):
        make.image(name)
    make.image("shut/c.png")
    for name, mode in {
        "in/locked.png": 0,
        "in/locked": 0,
        "in/closed": 0,
        "in/listed": 0o444,
        "shut": 0,
    }.items():
        (tmp_path / name).chmod(mode)
    try:
        done = run(
            *(
                *AS_ANYBODY,
                *PADDOCK,
                "parse",
                "in",
                "shut",
                "shut/c.png",
                "gone",
                "n.png",
                "-o",
                "out",
                "--json",
            ),
            *("--url", api.url),
            cwd=tmp_path,
        )
    finally:
        for name in ("in/closed", "in/listed", "shut"):
            (tmp_path / name).chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    found = {document["source"]: document for document in json.loads(done.stdout)["documents"]}
    assert {source for source, document in found.items() if document["status"] == "done"} == {
        "in/good.png",
        "n.png",
    }
    assert {source: document["reason"] for source, document in found.items() if document["reason"]} == {
        "in/locked": "in/locked: cannot be read: Permission denied",
        "in/locked.png": "in/locked.png: cannot be read: Permission denied",
        "in/closed": "in/closed: this folder cannot be read: Permission denied",
        "in/listed/b.png": "in/listed/b.png: cannot be read: Permission denied",
        "shut": "shut: this folder cannot be read: Permission denied",
        "shut/c.png": "shut/c.png: cannot be read: Permission denied",
        "gone": "gone: no such file",
    }


def test_names_that_differ_only_in_case_get_their_folders_in_front(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that results can be carried to a disk that does not tell them apart."""
    monkeypatch.chdir(tmp_path)
    for name in ("x/Scan.png", "y/scan.png", "z/other.png"):
        make.image(name)
    assert names("x", "y", "z") == ["x/Scan.png", "y/scan.png", "other.png"]
