"""Telling pages apart by few bytes."""

from __future__ import annotations

from PIL import Image, ImageDraw

from looks import look_at


def page(ink: int, *, size: tuple[int, int] = (400, 600), top: int = 60) -> Image.Image:
    drawn = Image.new("L", size, 255)
    ImageDraw.Draw(drawn).rectangle((size[0] // 8, top, size[0] // 2, top + size[1] // 6), fill=ink)
    return drawn


def test_blank_pages() -> None:
    assert look_at(Image.new("RGB", (30, 40), "white")).blank
    assert look_at(Image.new("RGB", (30, 40), "black")).blank
    one_letter = Image.new("RGB", (3000, 4000), "white")
    one_letter.putpixel((1500, 2000), (0, 0, 0))
    assert not look_at(one_letter).blank


def test_the_same_page_at_another_size() -> None:
    assert look_at(page(0)).shows_the_same_as(look_at(page(0, size=(800, 1200), top=120)))


def test_the_same_page_with_its_greys_scaled_in_another_way() -> None:
    assert look_at(page(0)).shows_the_same_as(look_at(page(120)))


def test_another_page() -> None:
    assert not look_at(page(0)).shows_the_same_as(look_at(page(0, top=400)))
    assert not look_at(page(0)).shows_the_same_as(look_at(Image.new("L", (400, 600), 255)))
