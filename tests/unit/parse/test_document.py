"""What a file is and why it cannot be parsed, from its content."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pypdf
import pytest
from PIL import Image
from pypdf.generic import NameObject, NumberObject, PdfObject, RectangleObject

from inspected import facts, refusal
from paddock.parse.document import Kind, abort, inspect, looks_parsable
from pipeline_api import Maker
from samples.convertible import coded, is_drawn
from samples.officefiles import COMPOUND, DOCUMENTS, OLD_DOCUMENTS, compound, stand_in, zipped


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif")])
def test_an_image_is_one_page_whatever_its_name(make: Maker, kind: str, suffix: str) -> None:
    for name in (f"a.{suffix}", "a.bin"):
        path = make.image(name, kind=kind)
        document = inspect(path)
        assert facts(document) == (Kind(kind), 1)
        assert document.size == path.stat().st_size
        with document.open() as file:
            assert file.read() == path.read_bytes()


def test_the_pages_of_a_pdf_and_a_tiff_are_counted(make: Maker) -> None:
    assert facts(inspect(make.pdf("a.pdf", pages=11))) == (Kind.PDF, 11)
    assert facts(inspect(make.tiff("a.tif", pages=12))) == (Kind.TIFF, 12)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"plain words\n", "found text,"),
        ("wörter".encode(), "found text,"),
        (b"BM is how this text begins", "found text,"),
        (b"P5 is a size of paper", "found text,"),
        (b"<!DOCTYPE html><p>404", "found HTML text,"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "found a RIFF file such as a sound or a video,"),
        (zipped(readme_txt="words"), "found a ZIP archive,"),
        (COMPOUND, "found a compound file that is no office document,"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "found a video,"),
        (b"\xff\xff\xff\xffftyp\0\0\0\0", "found a video,"),
        (b"\0\1\2\3\4\5\6\7\x08", "found unknown data (it begins with 00 01 02 03 04 05 06 07),"),
    ],
)
def test_other_files_renamed_png_are_called_what_they_are(make: Maker, data: bytes, found: str) -> None:
    refused = refusal(make.data("a.png", data))
    assert f"{found} expected a PDF, a picture or an office document" in refused.message
    assert "ends in .png" in refused.hint


@pytest.mark.parametrize(
    ("data", "found", "program"),
    [
        (b"8BPS\0\1", "a Photoshop picture", "convert"),
        (b"AT&TFORM", "a DjVu document", "ddjvu -format=pdf"),
        (b"%!PS-Adobe-3.0", "a PostScript document", "ps2pdf"),
        (b"\xff\x0a\xfa", "a JPEG XL picture", "djxl"),
    ],
)
def test_what_another_program_converts_is_left_to_it(
    make: Maker, data: bytes, found: str, program: str
) -> None:
    path = make.data("my file", data)
    refused = refusal(path)
    assert f"found {found}, expected" in refused.message
    assert f"`{program} '{path}' '{path}'." in refused.hint


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("BMP", "BMP picture"),
        ("GIF", "GIF picture"),
        ("WEBP", "WebP picture"),
        ("AVIF", "AVIF picture"),
        ("HEIF", "HEIC picture"),
        ("JPEG2000", "JPEG 2000 picture"),
        ("PPM", "PNM picture"),
    ],
)
def test_other_pictures_are_sent_as_png(make: Maker, kind: str, what: str) -> None:
    data = coded(kind)
    document = inspect(make.data("a.png", data))
    assert facts(document) == (Kind.PNG, 1)
    assert document.converted_from == what
    assert document.source_sha256 == hashlib.sha256(data).hexdigest()
    assert document.notes == (f"{what}, sent as PNG",)
    with document.open() as file:
        sent = file.read()
    assert len(sent) == document.size
    assert is_drawn(Image.open(io.BytesIO(sent)))


def test_office_documents_are_sent_as_pdf(
    make: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(stand_in(tmp_path)), prepend=":")
    monkeypatch.setenv("PADDOCK_TEST_PDF", str(make.pdf("two.pdf", pages=2)))
    abort()  # another judge, with this PATH
    for what, data in (*DOCUMENTS.items(), *OLD_DOCUMENTS.items()):
        document = inspect(make.data("a.bin", data))
        assert facts(document) == (Kind.PDF, 2)
        assert (document.converted_from, document.notes) == (what, (f"{what}, sent as PDF",))
        with document.open() as file:
            assert file.read(5) == b"%PDF-"


def test_an_office_document_without_libreoffice(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(make.folder))
    abort()
    refused = refusal(make.data("a.docx", DOCUMENTS["Word document"]))
    assert "there is no `soffice` on PATH" in refused.message
    assert "soffice --headless --convert-to pdf" in refused.hint


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F", "CMYK"])
def test_what_the_api_reads_is_sent_as_it_is(make: Maker, mode: str) -> None:
    """Transparency, sixteen bits and real numbers are the server's, which does the same for all clients."""
    page = Image.new(mode, (8, 8))
    path = make.folder / "a.tif"
    page.save(path, "TIFF", save_all=True, append_images=[page])
    document = inspect(path)
    assert facts(document) == (Kind.TIFF, 2)
    assert (document.converted_from, document.source_sha256, document.notes) == (None, None, ())
    if mode not in ("F", "CMYK"):
        page.save(path, "PNG")
        assert facts(inspect(path)) == (Kind.PNG, 1)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("/UserUnit", NumberObject(10)),
        ("/CropBox", RectangleObject((1000, 1000, 1100, 1100))),
        ("/MediaBox", RectangleObject((0, 0, 0, 0))),
    ],
)
def test_a_page_of_an_odd_size_is_the_server_s(make: Maker, entry: str, value: PdfObject) -> None:
    """One bad page does not cost the others, and the server says what it makes of it."""
    writer = pypdf.PdfWriter(clone_from=make.pdf("a.pdf", pages=2))
    writer.pages[1][NameObject(entry)] = value
    path = make.folder / "b.pdf"
    writer.write(path)
    assert facts(inspect(path)) == (Kind.PDF, 2)


def test_a_picture_that_was_cut_off_is_refused_before_it_is_sent(make: Maker) -> None:
    """What OpenCV makes of a cut JPEG is another document's picture (its issue 26488)."""
    data = coded("JPEG")
    refused = refusal(make.data("a.jpg", data[: len(data) // 2]))
    assert "the JPEG is damaged or cut off: it does not end with its end marker (EOI)" in refused.message
    assert "copy it again" in refused.hint


def test_nothing_to_read(make: Maker, tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.png").message
    assert "the file is empty" in refusal(make.data("empty.pdf", b"")).message
    assert "folder" in refusal(tmp_path).message
    os.mkfifo(tmp_path / "pipe.png")
    assert "found a pipe" in refusal(tmp_path / "pipe.png").message


def test_a_pdf_is_judged_by_pdfium(make: Maker) -> None:
    assert "finds no pages in it" in refusal(make.pdf("none.pdf", pages=0)).message
    assert "needs a password" in refusal(make.pdf("a.pdf", pages=2, password="secret")).message
    cut = inspect(make.data("b.pdf", make.pdf("whole.pdf", pages=3).read_bytes()[:-6]))
    assert cut.pages == 3
    assert "no end marker" in cut.notes[0]


def test_what_is_meant_to_be_parsed(make: Maker) -> None:
    assert looks_parsable(make.image("scan"))
    assert looks_parsable(make.data("broken.PNG", b"text"))
    assert looks_parsable(make.data("photo", coded("HEIF")))
    assert looks_parsable(make.data("letter", DOCUMENTS["Word document"]))
    assert looks_parsable(make.data("secret", compound("EncryptedPackage")))
    assert not looks_parsable(make.data("program.jar", zipped(manifest_mf="")))
    assert not looks_parsable(make.data("notes.txt", b"text"))
