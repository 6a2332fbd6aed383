"""Pages and pixels of PNG, JPEG and TIFF files, from their headers."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from inspected import facts, refusal
from paddock.parse.document import Kind, inspect
from paddock.parse.imagesizes import MAX_PIXELS
from pipeline_api import Maker


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\0\0\0\0"


def jpeg_header(width: int, height: int) -> bytes:
    # Inside the comment stand bytes that look like a frame.
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 500) + b"\xff\xc0" * 250
    return b"\xff\xd8" + comment + b"\xff\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3)


def tiff_page(order: str, width: int, height: int, following: int) -> bytes:
    entries = struct.pack(order + "HHIHH", 256, 3, 1, width, 0)
    entries += struct.pack(order + "HHII", 257, 4, 1, height)
    return struct.pack(order + "H", 2) + entries + struct.pack(order + "I", following)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_both_byte_orders(make: Maker, order: str) -> None:
    magic = b"II*\0" if order == "<" else b"MM\0*"
    start = struct.pack(order + "I", 8)
    page = tiff_page(order, 20, 10, 8 + 30)
    data = magic + start + page + tiff_page(order, 20, 10, 0)
    assert facts(inspect(make.data("a.tif", data))) == (Kind.TIFF, 2)


def test_big_tiff_of_one_page_only(make: Maker) -> None:
    assert facts(inspect(make.tiff("one.tif", pages=1, big=True))) == (Kind.TIFF, 1)
    refused = refusal(make.tiff("two.tif", pages=2, big=True))
    assert "BigTIFF of 2 pages" in refused.message
    assert "classic TIFF" in refused.hint


def test_a_tiff_whose_pages_form_a_ring_ends(make: Maker) -> None:
    data = b"II*\0" + struct.pack("<I", 8) + tiff_page("<", 20, 10, 8)
    assert facts(inspect(make.data("a.tif", data))) == (Kind.TIFF, 1)


@pytest.mark.parametrize("header", [png_header, jpeg_header])
def test_an_image_may_be_wide_but_not_of_too_many_pixels(
    make: Maker, header: Callable[[int, int], bytes]
) -> None:
    assert inspect(make.data("wide", header(20_000, 400))).pages == 1
    assert inspect(make.data("just", header(MAX_PIXELS // 10_000, 10_000))).pages == 1
    refused = refusal(make.data("vast", header(20_000, 20_000)))
    assert "found 20000 x 20000 = 400,000,000 pixels, expected at most 178,956,970" in refused.message
    assert "0 x 7" in refusal(make.data("none", header(0, 7))).message


def test_too_many_pixels_on_a_later_page_of_a_tiff(make: Maker) -> None:
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
def test_images_that_are_cut_off(make: Maker, data: bytes) -> None:
    assert "damaged or cut off" in refusal(make.data("a.img", data)).message


def test_a_tiff_without_pages(make: Maker) -> None:
    assert "found 0 pages" in refusal(make.data("a.tif", b"II*\0\0\0\0\0")).message
