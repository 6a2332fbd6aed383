"""The documents that are sent, and what is written down about them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pypdf
import pytest

from paddock.matrix.records import Task
from paddock.smoke.known import DOCUMENTS, known_answers
from repository import REPOSITORY


def test_every_task_has_a_picture() -> None:
    tasks = known_answers().tasks
    assert set(tasks) == set(Task)
    for known in tasks.values():
        assert known.read().startswith(b"\x89PNG")
        assert bool(known.text) is not bool(known.cells)


def test_the_embedded_model_has_one_picture() -> None:
    assert set(known_answers(plain=True).tasks) == {Task.OCR}


@pytest.mark.parametrize("plain", [False, True])
def test_the_documents_have_the_pages_that_are_written_down(plain: bool) -> None:
    image, pdf = known_answers(plain=plain).documents
    assert (image.name, pdf.name) == ("image", "pdf")
    assert image.read().startswith(b"\x89PNG")
    assert len(image.pages) == 1
    assert len(pypdf.PdfReader(DOCUMENTS / pdf.file).pages) == len(pdf.pages) == 2


@pytest.mark.needs("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
def test_the_documents_are_what_the_script_draws(tmp_path: Path) -> None:
    text = (REPOSITORY / "scripts/maintain/make-smoke-documents.py").read_text()
    script = tmp_path / "scripts/maintain/draw.py"
    script.parent.mkdir(parents=True)
    script.write_text(text)
    subprocess.run([sys.executable, script], check=True)
    drawn = tmp_path / "tool/paddock/smoke/drawn"
    assert (drawn / "answers.json").read_bytes() == (DOCUMENTS / "answers.json").read_bytes()
    assert {path.name for path in drawn.iterdir()} == {path.name for path in DOCUMENTS.iterdir()}
