"""What PDFium and Pillow say, with nothing of paddock in between."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pypdf
import pytest
from PIL import Image
from pypdf.generic import NameObject, NumberObject

from references import Page, read, reference

PDF = b"""%%PDF-1.7
1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj
2 0 obj <</Type /Pages /Count 1 /Kids [3 0 R]>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 4 0 R
 /Resources <</Font <</F <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>>>>>>> endobj
4 0 obj <</Length %d>> stream
%s
endstream endobj
trailer <</Root 1 0 R>>
"""


def pdf(path: Path, content: bytes) -> Path:
    path.write_bytes(PDF % (len(content), content))
    return path


def only_page(path: Path) -> Page:
    (page,) = read(path, 3).pages
    assert isinstance(page, Page)
    return page


def test_words_that_are_painted_count(tmp_path: Path) -> None:
    seen = only_page(pdf(tmp_path / "a.pdf", b"BT /F 12 Tf 10 50 Td (Three words - here) Tj ET"))
    assert (seen.words, seen.look.blank) == (3, False)
    scanned = only_page(pdf(tmp_path / "b.pdf", b"BT /F 12 Tf 3 Tr 10 50 Td (Three words - here) Tj ET"))
    assert (scanned.words, scanned.look.blank) == (0, True)
    beyond = only_page(pdf(tmp_path / "c.pdf", b"BT /F 12 Tf 10 150 Td (Three words - here) Tj ET"))
    assert (beyond.words, beyond.look.blank) == (0, True)


@pytest.mark.parametrize(("unit", "size"), [(1, (400, 200)), (2, (800, 400))])
def test_pages_have_their_printed_size(tmp_path: Path, unit: int, size: tuple[int, int]) -> None:
    written = pypdf.PdfWriter()
    written.add_blank_page(width=200, height=100)[NameObject("/UserUnit")] = NumberObject(unit)
    written.write(tmp_path / "a.pdf")
    look = only_page(tmp_path / "a.pdf").look
    assert (look.width, look.height) == size


def test_the_placeholder_of_a_form_is_known(tmp_path: Path) -> None:
    content = b"BT /F 12 Tf 10 50 Td (Please wait... ) Tj ET"
    assert read(pdf(tmp_path / "a.pdf", content), 3).placeholder
    assert not read(pdf(tmp_path / "b.pdf", content.replace(b"wait", b"stay")), 3).placeholder


def test_transparent_places_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert only_page(tmp_path / "a.png").look.blank


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    faint = Image.new("I;16", (8, 8), 1000)
    faint.putpixel((3, 3), 1200)
    faint.save(tmp_path / "a.tif")
    assert not only_page(tmp_path / "a.tif").look.blank


def test_what_cannot_be_opened_has_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    known = reference(multiprocessing.get_context("forkserver"), path, 3)
    assert known.problem.startswith("UnidentifiedImageError: ")
    assert not known.whole
