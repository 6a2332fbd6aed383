"""What a file is and why it cannot be parsed, from its content."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from paddock.errors import UsageError
from paddock.parse.document import Document, Kind, inspect, looks_parsable
from paddock.parse.imagesizes import MAX_PIXELS


def refusal(path: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        inspect(path)
    assert caught.value.message.startswith(f"{path}: ")
    return caught.value


def facts(document: Document) -> tuple[Kind, int | None]:
    return document.kind, document.pages


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\0\0\0\0"


def jpeg_header(width: int, height: int) -> bytes:
    comment = (
        b"\xff\xfe" + struct.pack(">H", 2 + 500) + b"\xff\xc0" * 250
    )  # bytes like a frame inside a comment
    return b"\xff\xd8" + comment + b"\xff\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3)


def tiff_page(order: str, width: int, height: int, following: int) -> bytes:
    entries = struct.pack(order + "HHIHH", 256, 3, 1, width, 0) + struct.pack(
        order + "HHII", 257, 4, 1, height
    )
    return struct.pack(order + "H", 2) + entries + struct.pack(order + "I", following)


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif")])
def test_an_image_is_one_page_whatever_its_name(make, kind, suffix):
    for name in (f"a.{suffix}", "a.bin"):
        path = make.image(name, kind=kind)
        document = inspect(path)
        assert facts(document) == (Kind(kind), 1)
        assert document.size == path.stat().st_size
        with document.open() as file:
            assert file.read() == path.read_bytes()


def test_the_pages_of_a_pdf_and_a_tiff_are_counted(make):
    assert facts(inspect(make.pdf("a.pdf", pages=11))) == (Kind.PDF, 11)
    assert facts(inspect(make.tiff("a.tif", pages=12))) == (Kind.TIFF, 12)


def test_a_pdf_may_have_something_before_its_header(make):
    path = make.pdf("a.pdf", pages=3)
    assert facts(inspect(make.data("b.pdf", b"\n\n" + path.read_bytes()))) == (Kind.PDF, 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_both_byte_orders(make, order):
    magic = b"II*\0" if order == "<" else b"MM\0*"
    start = struct.pack(order + "I", 8)
    page = tiff_page(order, 20, 10, 8 + 30)
    data = magic + start + page + tiff_page(order, 20, 10, 0)
    assert facts(inspect(make.data("a.tif", data))) == (Kind.TIFF, 2)


def test_big_tiff_of_one_page_only(make):
    assert facts(inspect(make.tiff("one.tif", pages=1, big=True))) == (Kind.TIFF, 1)
    refused = refusal(make.tiff("two.tif", pages=2, big=True))
    assert "BigTIFF of 2 pages" in refused.message
    assert "classic TIFF" in refused.hint


def test_a_tiff_whose_pages_form_a_ring_ends(make):
    data = b"II*\0" + struct.pack("<I", 8) + tiff_page("<", 20, 10, 8)
    assert facts(inspect(make.data("a.tif", data))) == (Kind.TIFF, 1)


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
def test_other_files_renamed_png_are_called_what_they_are(make, data, found):
    refused = refusal(make.data("a.png", data))
    assert f"{found} expected PDF, PNG, JPEG or TIFF" in refused.message
    assert "ends in .png" in refused.hint


def test_nothing_to_read(make, tmp_path):
    assert "no such file" in refusal(tmp_path / "gone.png").message
    assert "the file is empty" in refusal(make.data("empty.pdf", b"")).message
    assert "folder" in refusal(tmp_path).message
    os.mkfifo(tmp_path / "pipe.png")
    assert "found a pipe" in refusal(tmp_path / "pipe.png").message


@pytest.mark.parametrize("header", [png_header, jpeg_header])
def test_an_image_may_be_wide_but_not_of_too_many_pixels(make, header):
    assert inspect(make.data("wide", header(20_000, 400))).pages == 1
    assert inspect(make.data("just", header(MAX_PIXELS // 10_000, 10_000))).pages == 1
    refused = refusal(make.data("vast", header(20_000, 20_000)))
    assert "found 20000 x 20000 = 400,000,000 pixels, expected at most 178,956,970" in refused.message
    assert "0 x 7" in refusal(make.data("none", header(0, 7))).message


def test_too_many_pixels_on_a_later_page_of_a_tiff(make):
    data = b"II*\0" + struct.pack("<I", 8) + tiff_page("<", 20, 10, 38) + tiff_page("<", 20_000, 20_000, 0)
    assert ": page 2: found 20000 x 20000" in refusal(make.data("a.tif", data)).message


@pytest.mark.parametrize(
    "data",
    [
        png_header(8, 8)[:20],
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dJUNK\0\0\0\x01\0\0\0\x01",
        jpeg_header(8, 8)[:300],
        jpeg_header(8, 8)[:-6],
        b"\xff\xd8\xff\xda\0\x08",
        b"II*\0\x08\0\0\0\xff\0",
        b"MM\0*\xff\xff\xff\xff",
        b"II*\0",
        b"II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_images_that_are_cut_off(make, data):
    assert "damaged or cut off" in refusal(make.data("a.img", data)).message


def test_a_tiff_without_pages(make):
    assert "found 0 pages" in refusal(make.data("a.tif", b"II*\0\0\0\0\0")).message


def test_a_pdf_without_pages(make):
    assert "found 0 pages, expected at least 1" in refusal(make.pdf("a.pdf", pages=0)).message


@pytest.mark.parametrize("keep", [9, 60, 200])
def test_a_corrupt_pdf(make, keep):
    whole = make.pdf("whole.pdf", pages=3).read_bytes()
    refused = refusal(make.data("cut.pdf", whole[:keep]))
    assert "damaged" in refused.message or "0 pages" in refused.message


def test_a_pdf_of_noise(make):
    assert "the PDF is damaged" in refusal(make.data("a.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 20)).message


CIPHERS = pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])


@CIPHERS
def test_a_pdf_with_a_password(make, algorithm):
    refused = refusal(make.pdf("a.pdf", pages=2, password="secret", algorithm=algorithm))
    assert "needs a password" in refused.message
    assert "without a password" in refused.hint


@CIPHERS
def test_a_pdf_that_only_its_owner_may_change_is_fine(make, algorithm):
    assert inspect(make.pdf("a.pdf", pages=2, password="", owner="secret", algorithm=algorithm)).pages == 2


def test_what_is_meant_to_be_parsed(make):
    assert looks_parsable(make.image("scan"))
    assert looks_parsable(make.data("broken.PNG", b"text"))
    assert not looks_parsable(make.data("notes.txt", b"text"))
