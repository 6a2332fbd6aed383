"""Documents are looked at and cut by a process of their own, which may end as it likes."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pypdf
import pytest
from PIL import Image

import cutter
import parts
from failures import GiveUp, Killed
from job_stack import PROGRAMS, looked_at, pdf


@pytest.fixture(autouse=True)
def _programs_of_an_image_lie_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROGRAMS / "api"))


def stored(folder: Path, data: bytes) -> Path:
    path = folder / "document"
    path.write_bytes(data)
    return path


def tiff(shades: list[int]) -> bytes:
    pages = [Image.new("L", (8, 8), shade) for shade in shades]
    written = io.BytesIO()
    pages[0].save(written, "TIFF", save_all=True, append_images=pages[1:])
    return written.getvalue()


def test_pages_of_a_pdf(tmp_path: Path) -> None:
    path = stored(tmp_path, pdf(7, 9))
    assert asyncio.run(parts.count(path, "")) == 9
    assert asyncio.run(parts.count(path, "2,4-6")) == 4
    cut = asyncio.run(parts.cut(path, "2,4-6", 2, 4))
    assert cut is not None
    assert looked_at(cut) == (7, [4, 5, 6])
    assert asyncio.run(parts.cut(path, "", 1, 9)) is None
    assert asyncio.run(parts.cut(path, "1-9", 1, 9)) is None


def test_a_page_stays_turned(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.add_blank_page(100, 100).rotate(90)
    written = io.BytesIO()
    writer.write(written)
    cut = asyncio.run(parts.cut(stored(tmp_path, written.getvalue()), "", 2, 2))
    assert cut is not None
    assert pypdf.PdfReader(io.BytesIO(cut)).pages[0].rotation == 90


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    path = stored(tmp_path, tiff([10, 20, 30]))
    assert asyncio.run(parts.count(path, "")) == 3
    cut = asyncio.run(parts.cut(path, "", 2, 3))
    assert cut is not None
    with Image.open(io.BytesIO(cut)) as image:
        assert getattr(image, "n_frames", 1) == 2
        assert image.getpixel((0, 0)) == 20


def test_a_picture_has_one_page(tmp_path: Path) -> None:
    path = stored(tmp_path, b"\x89PNG\r\n\x1a\n")
    assert asyncio.run(parts.count(path, "")) == 1
    assert asyncio.run(parts.cut(path, "1", 1, 1)) is None
    with pytest.raises(GiveUp, match="found page 2, expected at most 1"):
        asyncio.run(parts.count(path, "2"))


def test_more_pages_than_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_MAX_PAGES", "3")
    for data in (pdf(1, 4), tiff([1, 2, 3, 4])):
        path = stored(tmp_path, data)
        with pytest.raises(GiveUp, match=r"more than 3 pages are asked for \(API_MAX_PAGES\)"):
            asyncio.run(parts.count(path, ""))
    assert asyncio.run(parts.count(path, "1-3")) == 3


def test_a_pdf_with_a_password(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    with pytest.raises(GiveUp, match="protected by a password"):
        asyncio.run(parts.count(stored(tmp_path, written.getvalue()), ""))


def test_a_document_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(GiveUp, match="not in the volume of the jobs service any more"):
        asyncio.run(parts.count(tmp_path / "document", ""))


def test_a_reader_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "cutter.py"
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(cutter, "__file__", str(program))
    with pytest.raises(Killed, match="ended with status -9"):
        asyncio.run(parts.count(tmp_path, ""))
