#!/usr/bin/env python3
"""Draw the sample document that `make demo` parses: one page with a title, a paragraph and a small table.

Writes docs/sample/receipt.png and docs/sample/receipt.pdf (the same page, as a scan would be). Same bytes
each time.
"""

from __future__ import annotations

from pathlib import Path
from time import gmtime

from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts/truetype/dejavu")
OUT = Path(__file__).resolve().parents[2] / "docs" / "sample"
DPI = 150
WIDTH, HEIGHT = 874, 1240  # A5 at DPI
MARGIN = 80
ROWS = [
    ("Item", "Pieces", "Price"),
    ("Hay, bale", "12", "54.00"),
    ("Oats, 25 kg", "3", "47.70"),
    ("Salt lick", "2", "9.80"),
    ("Total", "", "111.50"),
]
COLUMNS = (MARGIN, 500, 650, WIDTH - MARGIN)
ROW_HEIGHT = 56


def main() -> None:
    """Draw the page and write both files."""
    page = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 90), "RECEIPT 20417", font=_font("DejaVuSans-Bold.ttf", 48), fill=0)
    body = _font("DejaVuSans.ttf", 28)
    for number, line in enumerate(("Paddock Lane Feed Store", "7 Mill Road", "Paid in cash on 4 May 2026")):
        draw.text((MARGIN, 190 + number * 44), line, font=body, fill=0)
    _table(draw, top=380, font=body)
    draw.text(
        (MARGIN, 740),
        "Thank you. Goods can be returned within 14 days.",
        font=_font("DejaVuSans.ttf", 24),
        fill=0,
    )
    OUT.mkdir(parents=True, exist_ok=True)
    page.save(OUT / "receipt.png", optimize=True, dpi=(DPI, DPI))
    day = gmtime(0)  # Pillow would write the time of now
    page.convert("1", dither=Image.Dither.NONE).save(
        OUT / "receipt.pdf", resolution=DPI, title="Receipt 20417", creationDate=day, modDate=day
    )


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS / name, size)


def _table(draw: ImageDraw.ImageDraw, *, top: int, font: ImageFont.FreeTypeFont) -> None:
    bottom = top + ROW_HEIGHT * len(ROWS)
    for x in COLUMNS:
        draw.line((x, top, x, bottom), fill=0, width=2)
    for number in range(len(ROWS) + 1):
        y = top + number * ROW_HEIGHT
        draw.line((COLUMNS[0], y, COLUMNS[-1], y), fill=0, width=2)
    for number, row in enumerate(ROWS):
        for x, text in zip(COLUMNS, row, strict=False):
            draw.text((x + 12, top + number * ROW_HEIGHT + 10), text, font=font, fill=0)


if __name__ == "__main__":
    main()
