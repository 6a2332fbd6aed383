#!/usr/bin/env python3
"""Draw the documents that `paddock smoke` sends, and write down what stands on them.

Writes tool/paddock/smoke/drawn/: one picture a task, a page as PNG, two pages as PDF, the same in lines of
plain print for the embedded model, and answers.json. What is drawn and what is written down come from the
same constants, so they cannot differ. Same bytes each time.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from time import gmtime

from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts/truetype/dejavu")
OUT = Path(__file__).resolve().parents[2] / "tool" / "paddock" / "smoke" / "drawn"
DPI = 150
PAGE = (874, 1240)  # A5 at DPI
MARGIN = 80

TITLE = "DELIVERY NOTE 3168"
RECEIPT = ("Millbrook Saddlery", "14 Orchard Lane", "Paid by card on 9 June 2026", "Total amount 248.60")
TABLE = (
    ("Article", "Pieces", "Price"),
    ("Bridle, brown", "4", "96.00"),
    ("Horseshoe nails", "250", "37.50"),
    ("Curry comb", "7", "41.30"),
    ("Stable lamp", "2", "73.80"),
)
FORMULA = r"E = mc^{2} + \frac{p^{2}}{2m}"
CHART_TITLE = "Bales sold"
CHART = (("North", 20), ("East", 35), ("South", 10), ("West", 25))
SEAL = "MILLBROOK SADDLERY"
CLOSING = "Goods can be returned within 21 days."
# The lines of two pages.
PLAIN = ((*RECEIPT, CLOSING), ("Horseshoe nails 250 pieces 37.50", "Curry comb 7 pieces 41.30"))


def main() -> None:
    """Draw and write everything."""
    OUT.mkdir(parents=True, exist_ok=True)
    pictures = {
        "receipt": _receipt(),
        "table": _table(),
        "formula": _formula(),
        "chart": _chart(),
        "seal": _seal(),
    }
    first = _page((("receipt", 200), ("table", 480)), pictures, title=TITLE, closing=CLOSING)
    second = _page((("formula", 200), ("chart", 480)), pictures, title="APPENDIX", closing="")
    plain = [_plain_page(lines) for lines in PLAIN]
    pages = {"page": first, "plain-line": _plain_line(), "plain-page": plain[0]}
    for name, picture in (pictures | pages).items():
        picture.save(OUT / f"{name}.png", optimize=True, dpi=(DPI, DPI))
    _write_pdf("pages.pdf", first, second)
    _write_pdf("plain-pages.pdf", *plain)
    (OUT / "answers.json").write_text(json.dumps(_answers(), indent=2) + "\n", "utf-8")


def _write_pdf(name: str, *pages: Image.Image) -> None:
    day = gmtime(0)  # Pillow would write the time of now
    black = [page.convert("1", dither=Image.Dither.NONE) for page in pages]
    black[0].save(
        OUT / name,
        resolution=DPI,
        title="Delivery note 3168",
        save_all=True,
        append_images=black[1:],
        creationDate=day,
        modDate=day,
    )


def _answers() -> dict[str, object]:
    text = "\n".join(RECEIPT)
    first = [*f"{TITLE} {' '.join(RECEIPT)} {CLOSING}".split(), *(cell for row in TABLE for cell in row)]
    return {
        "tasks": {
            "ocr": {"file": "receipt.png", "text": text},
            "table": {"file": "table.png", "cells": TABLE},
            "formula": {"file": "formula.png", "text": FORMULA},
            "chart": {"file": "chart.png", "cells": [[name, str(value)] for name, value in CHART]},
            "spotting": {"file": "receipt.png", "text": text},
            "seal": {"file": "seal.png", "text": SEAL},
        },
        "documents": {
            "image": {"file": "page.png", "pages": [first]},
            "pdf": {"file": "pages.pdf", "pages": [first, ["APPENDIX"]]},
        },
        "plain": {
            "tasks": {"ocr": {"file": "plain-line.png", "text": RECEIPT[2]}},
            "documents": {
                "image": {"file": "plain-page.png", "pages": PLAIN[:1]},
                "pdf": {"file": "plain-pages.pdf", "pages": PLAIN},
            },
        },
    }


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS / name, size)


def _sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("L", (width, height), 255)
    return picture, ImageDraw.Draw(picture)


def _receipt() -> Image.Image:
    picture, draw = _sheet(714, 220)
    for number, line in enumerate(RECEIPT):
        draw.text((16, 16 + number * 50), line, font=_font("DejaVuSans.ttf", 32), fill=0)
    return picture


def _table() -> Image.Image:
    columns, height = (8, 350, 530, 706), 58
    picture, draw = _sheet(714, height * len(TABLE) + 16)
    bottom = 8 + height * len(TABLE)
    for x in columns:
        draw.line((x, 8, x, bottom), fill=0, width=2)
    for number in range(len(TABLE) + 1):
        draw.line((columns[0], 8 + number * height, columns[-1], 8 + number * height), fill=0, width=2)
    for number, row in enumerate(TABLE):
        for x, text in zip(columns, row, strict=False):
            draw.text((x + 14, 8 + number * height + 12), text, font=_font("DejaVuSans.ttf", 28), fill=0)
    return picture


def _formula() -> Image.Image:
    """FORMULA as it is set in print: letters slanted, numbers upright."""
    picture, draw = _sheet(560, 180)
    letter, digit = _font("DejaVuSerif-Italic.ttf", 54), _font("DejaVuSerif.ttf", 54)
    small = _font("DejaVuSerif.ttf", 32)
    placed = (
        (30, 60, "E", letter),
        (96, 60, "=", digit),
        (164, 60, "m", letter),
        (222, 60, "c", letter),
        (254, 50, "2", small),
        (300, 60, "+", digit),
        (394, 14, "p", letter),
        (432, 6, "2", small),
        (378, 98, "2", digit),
        (414, 98, "m", letter),
    )
    for x, y, text, font in placed:
        draw.text((x, y), text, font=font, fill=0)
    draw.line((366, 94, 484, 94), fill=0, width=3)
    return picture


def _chart() -> Image.Image:
    """Bars with their values above them and their names below."""
    picture, draw = _sheet(714, 470)
    font, left, bottom = _font("DejaVuSans.ttf", 26), 90, 400
    draw.text((270, 12), CHART_TITLE, font=_font("DejaVuSans-Bold.ttf", 28), fill=0)
    draw.line((left, 60, left, bottom), fill=0, width=3)
    draw.line((left, bottom, 690, bottom), fill=0, width=3)
    for mark in range(0, 41, 10):
        draw.line((left - 8, bottom - mark * 8, left, bottom - mark * 8), fill=0, width=2)
        draw.text((left - 16, bottom - mark * 8), str(mark), font=font, fill=0, anchor="rm")
    for number, (name, value) in enumerate(CHART):
        x = left + 60 + number * 145
        draw.rectangle((x, bottom - value * 8, x + 80, bottom), fill=110)
        draw.text((x + 40, bottom - value * 8 - 8), str(value), font=font, fill=0, anchor="mb")
        draw.text((x + 40, bottom + 12), name, font=font, fill=0, anchor="mt")
    return picture


def _seal() -> Image.Image:
    """SEAL around the inside of a ring, each letter turned with it."""
    size, middle, radius = 480, 240, 172
    picture, draw = _sheet(size, size)
    draw.ellipse((14, 14, size - 14, size - 14), outline=0, width=8)
    draw.ellipse((190, 190, 290, 290), outline=0, width=4)
    font, step = _font("DejaVuSans-Bold.ttf", 44), 15.5
    start = -90 - step * (len(SEAL) - 1) / 2
    for number, letter in enumerate(SEAL):
        angle = start + number * step
        stamp = Image.new("L", (72, 72), 0)
        ImageDraw.Draw(stamp).text((36, 36), letter, font=font, fill=255, anchor="mm")
        turned = stamp.rotate(-angle - 90, resample=Image.Resampling.BICUBIC)
        x = middle + radius * math.cos(math.radians(angle))
        y = middle + radius * math.sin(math.radians(angle))
        picture.paste(0, (round(x) - 36, round(y) - 36), turned)
    return picture


def _page(
    placed: tuple[tuple[str, int], ...], pictures: dict[str, Image.Image], *, title: str, closing: str
) -> Image.Image:
    page, draw = _sheet(*PAGE)
    draw.text((MARGIN, 90), title, font=_font("DejaVuSans-Bold.ttf", 46), fill=0)
    for name, top in placed:
        page.paste(pictures[name], (MARGIN, top))
    draw.text((MARGIN, 1000), closing, font=_font("DejaVuSans.ttf", 26), fill=0)
    return page


def _plain_line() -> Image.Image:
    picture, draw = _sheet(540, 52)
    draw.text((16, 6), RECEIPT[2], font=_font("DejaVuSans.ttf", 32), fill=0)
    return picture


def _plain_page(lines: tuple[str, ...]) -> Image.Image:
    page, draw = _sheet(*PAGE)
    for number, line in enumerate(lines):
        draw.text((MARGIN, 100 + number * 50), line, font=_font("DejaVuSans.ttf", 32), fill=0)
    return page


if __name__ == "__main__":
    main()
