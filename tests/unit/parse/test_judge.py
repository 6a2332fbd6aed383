"""The judge, asked a line at a time as `parse.judging` does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from paddock.parse.judge import answer
from paddock.parse.questions import MADE, Task
from pipeline_api import Maker
from samples.convertible import coded
from samples.officefiles import DOCUMENTS


def test_each_question_has_its_reader(make: Maker, tmp_path: Path) -> None:
    pdf, png = make.pdf("a.pdf", pages=2), make.data("a.png", coded("PNG"))
    gif, office = make.data("a.gif", coded("GIF")), make.data("a.docx", DOCUMENTS["Word document"])
    assert answer(Task.PDF, pdf, tmp_path) == {"pages": 2, "what": "", "notes": ()}
    assert answer(Task.WHOLE, png, tmp_path)["pages"] == 1
    assert answer(Task.PICTURE, gif, tmp_path)["pages"] == 1
    assert (tmp_path / MADE).read_bytes().startswith(b"\x89PNG")
    assert answer(Task.OFFICE_KIND, office, tmp_path)["what"] == "Word document"


def test_a_refusal_has_a_next_step(make: Maker, tmp_path: Path) -> None:
    refused = answer(Task.PDF, make.data("a.pdf", b"%PDF-1.4"), tmp_path)
    assert "damaged" in str(refused["refusal"])
    assert refused["hint"]


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    refused = answer(Task.PICTURE, tmp_path / "gone", tmp_path)
    assert refused == {"refusal": "cannot be read: No such file or directory", "hint": ""}


@pytest.mark.needs("/dev/full")
def test_no_room_for_what_it_makes_is_not_the_file_s_fault(make: Maker, tmp_path: Path) -> None:
    (tmp_path / MADE).symlink_to("/dev/full")
    lacking = answer(Task.PICTURE, make.data("a.gif", coded("GIF")), tmp_path)
    assert lacking == {"lacking": "No space left on device"}


def test_it_answers_a_line_for_a_line_until_nobody_asks(make: Maker, tmp_path: Path) -> None:
    pdf = str(make.pdf("a.pdf", pages=3))
    lines = [
        json.dumps({"task": task, "path": path, "folder": str(tmp_path)})
        for task, path in (("pdf", pdf), ("whole", "/gone\udcff"), ("pdf", pdf))
    ]
    program = [sys.executable, "-m", "paddock.parse.judge"]
    done = subprocess.run(
        program, input="\n".join(lines), capture_output=True, text=True, check=True, cwd=tmp_path
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [told.get("pages") for told in answers] == [3, None, 3]
    assert "No such file" in answers[1]["refusal"]
    assert done.stderr == ""
