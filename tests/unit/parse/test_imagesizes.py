"""Pages and pixels of PNG, JPEG and TIFF files, and what gives a reason to doubt that they are whole."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from paddock.errors import UsageError
from paddock.parse.imagesizes import MAX_PIXELS, Header, jpeg_header, png_header, tiff_header
from pipeline_api import Maker


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int) -> bytes:
    """A PNG without pixels, which are not looked at."""
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    # Inside the comment stand bytes that look like a frame.
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 500) + b"\xff\xc0" * 250
    size = b"\xff\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3)
    return b"\xff\xd8" + comment + size + b"\xff\xd9"


def tiff_page(order: str, width: int, height: int, following: int, *more: bytes) -> bytes:
    entries = struct.pack(order + "HHIHH", 256, 3, 1, width, 0)
    entries += struct.pack(order + "HHII", 257, 4, 1, height)
    return (
        struct.pack(order + "H", 2 + len(more))
        + entries
        + b"".join(more)
        + struct.pack(order + "I", following)
    )


def number(tag: int, value: int) -> bytes:
    """An entry of a TIFF with one number."""
    return struct.pack("<HHII", tag, 4, 1, value)


def read(data: bytes) -> Header:
    reader = {b"\x89": png_header, b"\xff": jpeg_header}.get(data[:1], tiff_header)
    return reader(io.BytesIO(data))


def refusal(data: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        read(data)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_both_byte_orders(order: str) -> None:
    magic = b"II*\0" if order == "<" else b"MM\0*"
    start = struct.pack(order + "I", 8)
    page = tiff_page(order, 20, 10, 8 + 30)
    assert read(magic + start + page + tiff_page(order, 20, 10, 0)) == Header(pages=2)


def test_big_tiff(make: Maker) -> None:
    """The pipeline API reads all of its pages."""
    assert read(make.tiff("two.tif", pages=2, big=True).read_bytes()) == Header(pages=2)


def test_a_tiff_whose_pages_form_a_ring_ends() -> None:
    assert read(b"II*\0" + struct.pack("<I", 8) + tiff_page("<", 20, 10, 8)).pages == 1


@pytest.mark.parametrize("header", [png, jpeg])
def test_an_image_may_be_wide_but_not_of_too_many_pixels(header: Callable[[int, int], bytes]) -> None:
    assert read(header(20_000, 400)) == Header(pages=1)
    assert read(header(MAX_PIXELS // 10_000, 10_000)) == Header(pages=1)
    assert "found 20000 x 20000 = 400,000,000 pixels, expected at most 178,956,970" in refusal(
        header(20_000, 20_000)
    )
    assert "0 x 7" in refusal(header(0, 7))


def test_too_many_pixels_on_a_later_page_of_a_tiff() -> None:
    data = b"II*\0" + struct.pack("<I", 8) + tiff_page("<", 20, 10, 38) + tiff_page("<", 20_000, 20_000, 0)
    assert refusal(data).startswith("page 2: found 20000 x 20000")


@pytest.mark.parametrize(
    "data",
    [
        png(8, 8)[:20],
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dJUNK\0\0\0\x01\0\0\0\x01",
        jpeg(8, 8)[:300],
        jpeg(8, 8)[:-8],
        b"\xff\xd8\xff\xda\0\x08",
        b"II*\0\x08\0\0\0\xff\0",
        b"MM\0*\xff\xff\xff\xff",
        b"II*\0",
        b"II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_images_that_end_in_their_header(data: bytes) -> None:
    assert "damaged or cut off" in refusal(data)


def test_a_tiff_without_pages() -> None:
    assert "found 0 pages" in refusal(b"II*\0\0\0\0\0")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_picture_that_is_cut_off_is_doubted(kind: str) -> None:
    file = io.BytesIO()
    Image.effect_noise((100, 100), 50).save(file, kind)
    data = file.getvalue()
    assert read(data) == Header(pages=1)
    if kind == "TIFF":  # Pillow writes the directory first
        assert read(data[:-1]).doubt == "the pixels of page 1 lie behind its end"
        return
    for missing in (1, 2, 13, 1000):
        assert (
            "before its end marker" in read(data[:-missing]).doubt
            or "end marker" in read(data[:-missing]).doubt
        )


def test_what_follows_the_end_of_a_picture_is_nobody_s_business() -> None:
    assert read(png(8, 8) + b"more") == Header(pages=1)
    assert read(jpeg(8, 8) + bytes(100)) == Header(pages=1)


def test_a_png_with_a_wrong_checksum_is_doubted() -> None:
    data = bytearray(png(8, 8))
    data[24] ^= 1
    assert read(bytes(data)).doubt == "its chunk IHDR has a wrong checksum"


@pytest.mark.parametrize(("places", "sizes"), [(273, 279), (324, 325)])
@pytest.mark.parametrize("size", [1, 10_000])
def test_strips_and_tiles_lie_within_the_file(places: int, sizes: int, size: int) -> None:
    page = tiff_page("<", 20, 10, 0, number(places, 8), number(sizes, size))
    header = read(b"II*\0" + struct.pack("<I", 8) + page)
    assert bool(header.doubt) == (size > 1000)


@pytest.mark.parametrize("compression", [2, 3, 4, 6, 7])
def test_where_a_decoder_makes_up_what_is_missing_it_is_not_asked(compression: int) -> None:
    page = tiff_page("<", 20, 10, 0, number(259, compression), number(273, 8), number(279, 10_000))
    found = refusal(b"II*\0" + struct.pack("<I", 8) + page)
    assert found == "the TIFF is cut off: the pixels of page 1 lie behind its end"


def test_a_list_of_strips_behind_the_end_is_doubted() -> None:
    strips = struct.pack("<HHII", 273, 4, 9, 10_000) + number(279, 1)
    data = b"II*\0" + struct.pack("<I", 8) + tiff_page("<", 20, 10, 0, strips[:12], strips[12:])
    assert read(data).doubt


def test_a_compression_that_nothing_here_decodes_is_named() -> None:
    start = b"II*\0" + struct.pack("<I", 8)
    jbig = tiff_page("<", 20, 10, 0, number(259, 34661))
    assert "this TIFF is compressed with JBIG, which cannot be read" in refusal(start + jbig)
    webp = tiff_page("<", 20, 10, 0, number(259, 50001))
    assert "compressed with WebP" in refusal(start + webp)
    packbits = tiff_page("<", 20, 10, 8 + 42, number(259, 32773))
    assert read(start + packbits + jbig) == Header(pages=2)  # the page that can be read is
