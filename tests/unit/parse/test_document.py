"""What a file is and why it cannot be parsed, from its content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inspected import facts, refusal
from paddock.parse.document import Kind, inspect, looks_parsable
from pipeline_api import Maker


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


def test_a_pdf_may_have_something_before_its_header(make: Maker) -> None:
    path = make.pdf("a.pdf", pages=3)
    assert facts(inspect(make.data("b.pdf", b"\n\n" + path.read_bytes()))) == (Kind.PDF, 3)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"plain words\n", "found text,"),
        ("wörter".encode(), "found text,"),
        (b"BM is how this text begins", "found text,"),
        (b"<!DOCTYPE html><p>404", "found HTML text,"),
        (b"GIF89a\x01\0", "found a GIF image,"),
        (b"BM\x00\x01\x02\x03", "found a BMP image,"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "found a RIFF file such as WebP,"),
        (b"PK\x03\x04\x14\0", "found a ZIP archive or an Office document,"),
        (b"\0\0\0\x18ftypheic\0", "found a HEIC or AVIF image or a video,"),
        (b"\0\1\2\3\4\5\6\7\x08", "found unknown data (it begins with 00 01 02 03 04 05 06 07),"),
    ],
)
def test_other_files_renamed_png_are_called_what_they_are(make: Maker, data: bytes, found: str) -> None:
    refused = refusal(make.data("a.png", data))
    assert f"{found} expected PDF, PNG, JPEG or TIFF" in refused.message
    assert "ends in .png" in refused.hint


def test_nothing_to_read(make: Maker, tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.png").message
    assert "the file is empty" in refusal(make.data("empty.pdf", b"")).message
    assert "folder" in refusal(tmp_path).message
    os.mkfifo(tmp_path / "pipe.png")
    assert "found a pipe" in refusal(tmp_path / "pipe.png").message


def test_a_pdf_without_pages(make: Maker) -> None:
    assert "found 0 pages, expected at least 1" in refusal(make.pdf("a.pdf", pages=0)).message


@pytest.mark.parametrize("keep", [9, 60, 200])
def test_a_corrupt_pdf(make: Maker, keep: int) -> None:
    whole = make.pdf("whole.pdf", pages=3).read_bytes()
    refused = refusal(make.data("cut.pdf", whole[:keep]))
    assert "damaged" in refused.message or "0 pages" in refused.message


def test_a_pdf_of_noise(make: Maker) -> None:
    assert "the PDF is damaged" in refusal(make.data("a.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 20)).message


CIPHERS = pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])


@CIPHERS
def test_a_pdf_with_a_password(make: Maker, algorithm: str) -> None:
    refused = refusal(make.pdf("a.pdf", pages=2, password="secret", algorithm=algorithm))
    assert "needs a password" in refused.message
    assert "without a password" in refused.hint


@CIPHERS
def test_a_pdf_that_only_its_owner_may_change_is_fine(make: Maker, algorithm: str) -> None:
    assert inspect(make.pdf("a.pdf", pages=2, password="", owner="secret", algorithm=algorithm)).pages == 2


def test_what_is_meant_to_be_parsed(make: Maker) -> None:
    assert looks_parsable(make.image("scan"))
    assert looks_parsable(make.data("broken.PNG", b"text"))
    assert not looks_parsable(make.data("notes.txt", b"text"))
