"""Pages of plain print that nobody has seen: what is drawn on them is what a reader of them must find."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts/truetype")
KNOWN = (
    "dejavu/DejaVuSans.ttf",
    "liberation/LiberationSans-Regular.ttf",
    "liberation/LiberationSerif-Regular.ttf",
)
PAGE = (1240, 1754)  # A4 at 150 dpi
MARGIN, LONGEST = 90, 40
WORDS = """
    account amount Annual balance before between Carried certain charge clause Company copy Current
    customer date delivery Document during each estimate figure First form general goods However interest
    Invoice item LETTER list market meeting month notice Number office order other paid PAPER party period
    person place Price product purchase quality quarter receipt record Report result return second section
    Service several stock supply TABLE tax term
    """.split()  # noqa: SIM905 - reads better than seventy quoted words


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """Pages and the lines that stand on each, in reading order."""

    pages: tuple[Image.Image, ...]
    lines: tuple[tuple[str, ...], ...]

    def file(self, kind: str) -> bytes:
        written = io.BytesIO()
        if kind == "PDF":
            self.pages[0].save(written, "PDF", resolution=150, save_all=True, append_images=self.pages[1:])
        else:
            self.pages[0].save(written, kind, quality=85)
        return written.getvalue()


def sentence(r: random.Random, longest: int) -> str:
    line = ""
    while True:
        word = (
            r.choice(WORDS)
            if r.random() < 0.8
            else r.choice((f"{r.uniform(1, 999):.2f}", f"{r.randint(1, 9999)}"))
        )
        word += r.choice(",.;:") if r.random() < 0.12 else ""
        if len(line) + 1 + len(word) > longest:
            return line or word[:longest]
        line += (" " if line else "") + word


def drawn(r: random.Random) -> tuple[Image.Image, tuple[str, ...]]:
    """A page with a title and one or two columns of lines."""
    path = FONTS / r.choice([name for name in KNOWN if (FONTS / name).is_file()])
    columns, size = (2, 24) if r.random() < 0.25 else (1, r.choice((24, 28, 32)))
    body, title = ImageFont.truetype(path, size), ImageFont.truetype(path, round(1.8 * size))
    page = Image.new("L", PAGE, 255)
    draw = ImageDraw.Draw(page)
    lines = [sentence(r, 24)]
    draw.text((MARGIN, MARGIN), lines[0], font=title, fill=0)
    for column in range(columns):
        left, y = MARGIN + column * PAGE[0] // 2, MARGIN + round(3.4 * size)
        for _ in range(r.randint(4, 14)):
            line = sentence(r, LONGEST)
            while body.getlength(line) > PAGE[0] / columns - 2 * MARGIN + 30:
                line = line.rpartition(" ")[0]
            draw.text((left, y), line, font=body, fill=r.randint(0, 60))
            lines.append(line)
            y += round(1.35 * size) + (size if r.random() < 0.2 else 0)
    return page, tuple(lines)


def ruled(r: random.Random, columns: int, rows: int) -> tuple[Image.Image, tuple[str, ...]]:
    """A page with a line, a ruled table and another line; its texts, those of the cells row by row."""
    path = FONTS / r.choice([name for name in KNOWN if (FONTS / name).is_file()])
    size, pad = r.choice((24, 28)), r.randint(9, 16)
    font, page = ImageFont.truetype(path, size), Image.new("L", PAGE, 255)
    draw, y, lines = ImageDraw.Draw(page), MARGIN, [sentence(r, LONGEST)]
    draw.text((MARGIN, y), lines[0], font=font, fill=0)
    width, height = (PAGE[0] - 2 * MARGIN) // columns, round(1.25 * size) + 2 * pad
    for row in range(rows):
        y = MARGIN + 2 * size + row * height
        for column in range(columns):
            x, text = MARGIN + column * width, sentence(r, 24)
            while font.getlength(text) > width - 2 * pad - 6:
                text = text.rpartition(" ")[0] or r.choice(("Item", "Total", "Unit"))
            draw.rectangle((x, y, x + width, y + height), outline=0, width=2)
            draw.text((x + pad + 3, y + pad), text, font=font, fill=0)
            lines.append(text)
    lines.append(sentence(r, LONGEST))
    draw.text((MARGIN, y + height + size), lines[-1], font=font, fill=0)
    return page, tuple(lines)


def roll(r: random.Random, count: int) -> Document:
    """One page like a receipt: so many lines, far longer than wide."""
    font, size, lines = ImageFont.truetype(FONTS / KNOWN[0], 28), 44, []
    page = Image.new("L", (900, 2 * MARGIN + count * size), 255)
    draw = ImageDraw.Draw(page)
    for number in range(count):
        lines.append(sentence(r, LONGEST))
        draw.text((MARGIN // 2, MARGIN + number * size), lines[-1], font=font, fill=0)
    return Document(pages=(page,), lines=(tuple(lines),))


def document(r: random.Random, pages: int) -> Document:
    made = [drawn(r) for _ in range(pages)]
    return Document(pages=tuple(page for page, _ in made), lines=tuple(lines for _, lines in made))
