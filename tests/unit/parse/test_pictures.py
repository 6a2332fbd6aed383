"""Pictures that are decoded to their end, and that become a PNG."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from paddock.errors import UsageError
from paddock.parse.imagesizes import MAX_PIXELS
from paddock.parse.pictures import to_png, whole
from paddock.parse.questions import MADE, Verdict
from pipeline_api import Maker
from samples.convertible import coded, drawn, is_drawn


def converted(path: Path) -> tuple[Verdict, Image.Image]:
    """What a picture becomes."""
    verdict = to_png(path, path.parent)
    image = Image.open(io.BytesIO((path.parent / MADE).read_bytes()))
    assert image.format == "PNG"
    return verdict, image


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "AVIF", "HEIF", "JPEG2000", "PPM"])
def test_every_format_becomes_a_png(make: Maker, kind: str) -> None:
    verdict, image = converted(make.data("a", coded(kind)))
    assert is_drawn(image)
    assert verdict == Verdict()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "AVIF", "HEIF", "JPEG2000", "PPM"])
def test_one_that_is_cut_off_is_refused(make: Maker, kind: str) -> None:
    data = coded(kind)
    with pytest.raises(UsageError, match="damaged") as caught:
        converted(make.data("a", data[: len(data) // 2]))
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_several_pictures_the_first_is_sent_and_that_is_said(make: Maker, kind: str) -> None:
    path = make.folder / "a"
    other = Image.new("RGB", drawn().size, "black")
    drawn().save(path, kind, save_all=True, append_images=[other, drawn()])
    verdict, image = converted(path)
    assert is_drawn(image)
    assert verdict.notes == ("it holds 3 pictures, of which only the first one is sent",)


def test_what_is_transparent_stays_so(make: Maker) -> None:
    path = make.folder / "a"
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(path, "WEBP", lossless=True)
    assert converted(path)[1].getpixel((0, 0)) == (0, 0, 0, 0)


def test_a_bmp_whose_fourth_byte_nobody_set_is_not_invisible(make: Maker) -> None:
    path = make.folder / "a"
    drawn().convert("RGBA").save(path, "BMP")
    pixels = path.stat().st_size - 4 * drawn().width * drawn().height
    data = bytearray(path.read_bytes())
    data[pixels + 3 :: 4] = bytes(len(data[pixels + 3 :: 4]))
    assert is_drawn(converted(make.data("b", bytes(data)))[1])


def test_it_stands_upright(make: Maker) -> None:
    path = make.folder / "a"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    drawn().transpose(Image.Transpose.ROTATE_90).save(path, "WEBP", exif=exif, lossless=True)
    assert is_drawn(converted(path)[1])


def test_sixteen_bits_stay(make: Maker) -> None:
    path = make.data("a", b"P5 2 1 65535\n" + struct.pack(">HH", 1000, 65535))
    image = converted(path)[1]
    assert [image.getpixel((0, 0)), image.getpixel((1, 0))] == [1000, 65535]


def test_too_many_pixels_are_refused_before_they_are_decoded(make: Maker) -> None:
    with pytest.raises(UsageError, match=f"expected at most {MAX_PIXELS:,}"):
        converted(make.data("a", b"P6 20000 20000 255\n"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_without_its_last_bytes(make: Maker, kind: str) -> None:
    """The pixels of a PNG may be whole without its end marker; a JPEG is not sure to be."""
    data = coded(kind)
    assert whole(make.data("whole", data)) == Verdict()
    with pytest.raises(UsageError, match=f"the {kind} is damaged or cut off"):
        whole(make.data("cut", data[:-30]))
    if kind == "PNG":
        assert whole(make.data("nearly", data[:-12])) == Verdict()


def test_a_page_of_a_tiff_that_cannot_be_decoded_is_named(make: Maker) -> None:
    path = make.folder / "a.tif"
    drawn().save(path, "TIFF", save_all=True, append_images=[drawn(), drawn()], compression="tiff_deflate")
    assert whole(path) == Verdict(pages=3)
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        assert isinstance(image, TiffImageFile)
        image.seek(1)
        (at,), (size,) = image.tag_v2[273], image.tag_v2[279]  # StripOffsets, StripByteCounts
    data[at : at + size] = bytes(size)
    verdict = whole(make.data("b.tif", bytes(data)))
    assert verdict.pages == 3
    assert [note.partition(":")[0] for note in verdict.notes] == ["page 2"]


def test_a_form_that_pillow_does_not_read_is_not_called_damaged(make: Maker) -> None:
    data = bytearray(coded("BMP"))
    data[30] = 9  # a compression that there is not
    with pytest.raises(UsageError, match="of a form that is not read: Unsupported BMP compression") as caught:
        converted(make.data("a", bytes(data)))
    assert "convert" in caught.value.hint
