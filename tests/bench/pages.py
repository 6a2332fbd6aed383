"""Pages to parse: A4 at 150 dpi with a title, paragraphs, a table and a chart; each page has other text."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1240, 1754
MARGIN = 110
_WORDS = """
    account amount annual balance before between carried certain charge clause company copy current
    customer date delivery document during each estimate figure first form general goods however interest
    invoice item letter list market meeting month notice number office order other paid paper party period
    person place price product purchase quality quarter receipt record report result return second section
    service several stock supply table tax term total under until value volume water week weight within
    work year
""".split()  # noqa: SIM905 - reads better than seventy quoted words


def page(number: int) -> bytes:
    """PNG of one page; the same bytes for the same number."""
    chosen = random.Random(number)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, 90), f"Report {number + 1}: {_text(chosen, 3)}", font=_font(44), fill="black")
    bottom = _paragraph(draw, chosen, top=190, lines=9)
    bottom = _table(draw, chosen, top=bottom + 50)
    bottom = _paragraph(draw, chosen, top=bottom + 50, lines=11)
    bottom = _chart(draw, chosen, top=bottom + 40)
    _paragraph(draw, chosen, top=bottom + 50, lines=4)
    written = io.BytesIO()
    image.save(written, "PNG", dpi=(150, 150))
    return written.getvalue()


def small_page() -> bytes:
    """PNG of a page with one line, for the first parse of a stack."""
    image = Image.new("RGB", (480, 240), "white")
    ImageDraw.Draw(image).text((40, 90), "The first page.", font=_font(32), fill="black")
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, so that the pages do not depend on this machine's fonts."""
    return ImageFont.load_default(size)


def _text(chosen: random.Random, words: int) -> str:
    return " ".join(chosen.choice(_WORDS) for _ in range(words))


def _paragraph(draw: ImageDraw.ImageDraw, chosen: random.Random, *, top: int, lines: int) -> int:
    for line in range(lines):
        draw.text((MARGIN, top + line * 34), _text(chosen, 10), font=_font(24), fill="black")
    return top + lines * 34


def _table(
    draw: ImageDraw.ImageDraw, chosen: random.Random, *, top: int, rows: int = 6, columns: int = 4
) -> int:
    width, height = (WIDTH - 2 * MARGIN) // columns, 46
    for row in range(rows):
        for column in range(columns):
            x, y = MARGIN + column * width, top + row * height
            draw.rectangle((x, y, x + width, y + height), outline="black", width=2)
            text = _text(chosen, 1) if row == 0 or column == 0 else f"{chosen.uniform(1, 9999):.2f}"
            draw.text((x + 12, y + 9), text, font=_font(22), fill="black")
    return top + rows * height


def _chart(draw: ImageDraw.ImageDraw, chosen: random.Random, *, top: int, height: int = 220) -> int:
    for bar in range(12):
        x = MARGIN + bar * 84
        y = top + height - chosen.randrange(30, height)
        draw.rectangle((x, y, x + 56, top + height), fill=(70, 90 + bar * 10, 160))
    draw.line((MARGIN, top + height, WIDTH - MARGIN, top + height), fill="black", width=3)
    return top + height
