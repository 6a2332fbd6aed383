"""Lines of text as the pipeline cuts them and its processor scales them, with the place of each character.

Fonts are Debian's packages fonts-dejavu-core (Bitstream Vera licence), fonts-liberation (SIL OFL 1.1) and
fonts-freefont-ttf (GPL with font exception); words are Debian's wamerican (public domain). Only pictures of
the letters and lists of words are used; nothing of the fonts is in the weights' file.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FOLDER = Path("/usr/share/fonts/truetype")
MAIN = (
    "dejavu/DejaVuSans.ttf",
    "liberation/LiberationSans-Regular.ttf",
    "liberation/LiberationSerif-Regular.ttf",
)
MORE = (
    "dejavu/DejaVuSans-Bold.ttf",
    "liberation/LiberationSans-Bold.ttf",
    "dejavu/DejaVuSerif.ttf",
    "liberation/LiberationSerif-Bold.ttf",
    "liberation/LiberationMono-Regular.ttf",
    "dejavu/DejaVuSansMono.ttf",
    "freefont/FreeSans.ttf",
    "freefont/FreeSerif.ttf",
)
WORDS = Path("/usr/share/dict/american-english")
LOWER, UPPER, DIGITS = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
SYMBOLS = ".,:;!?'\"()-/&%$+#@=*_"
SIZES = (14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 48)  # pixels
UNIT, PATCH = 28, 14  # pixels of a token and of a patch
LEAST = 112896  # pixels of a picture after scaling: PaddleX's min_pixels
WIDEST = 72  # tokens
# Widths to height that give pictures of three and of four rows of tokens.
RATIOS = {3: (16.25, 35.5), 4: (9.1, 15.9)}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A picture of a line, scaled for the model.

    `spans` are the left and right end of each character's ink in it.
    """

    pixels: Pixels
    text: str
    spans: tuple[tuple[float, float], ...]


def scaled_size(height: int, width: int) -> tuple[int, int]:
    """The processor's rule for small pictures: at least LEAST pixels, whole tokens."""
    if height < UNIT:
        height, width = UNIT, round(width * UNIT / height)
    high, wide = round(height / UNIT) * UNIT, round(width / UNIT) * UNIT
    if high * wide < LEAST:
        scale = (LEAST / (height * width)) ** 0.5
        high, wide = int(-(-height * scale // UNIT) * UNIT), int(-(-width * scale // UNIT) * UNIT)
    return high, wide


def text(r: random.Random, longest: int = 42) -> str:
    """A line of words, numbers and, now and then, nonsense."""
    length = r.randint(2, longest) if r.random() < 0.8 else r.randint(2, 12)
    kind, line = r.random(), ""
    while len(line) < length:
        piece = _piece(r, kind)
        chance = r.random()
        if chance < 0.14:
            piece += r.choice(".,,.:;!?")
        elif chance < 0.17:
            piece = f"({piece})"
        elif chance < 0.19:
            piece = f'"{piece}"'
        elif chance < 0.23:
            piece += r.choice("-/&'_@=+*") + _word(r)
        line += (" " if line else "") + piece
    return " ".join(line[:length].split()) or "a"


def draw(
    r: random.Random,
    *,
    rows: int = 3,
    main: float = 0.85,
    said: str | None = None,
    font: str | None = None,
    damaged: bool = True,
) -> Line:
    """A line whose picture has that many rows of tokens; `main` is the share of the three main fonts."""
    while True:
        line = said or text(r)
        name = font or (r.choice(MAIN) if r.random() < main else r.choice(MORE))
        if drawn := _drawn(r, line, name, rows, damaged):
            return drawn
        if said and font and not damaged:
            raise ValueError(f"{said!r} in {font}: has no place in a picture of {rows} rows")


def _drawn(r: random.Random, line: str, name: str, rows: int, damaged: bool) -> Line | None:
    size = r.choice(SIZES) if damaged else 28
    face, (spans, width) = _face(name, size), _spans(name, size, line)
    _, top, _, bottom = face.getbbox(line)
    ink = max(bottom - top, size * 0.45)
    above, below = (r.uniform(0.10, 0.34), r.uniform(0.10, 0.34)) if damaged else (0.2, 0.2)
    height = max(8, round(ink * (1 + above + below)))
    left = round(
        (r.uniform(0.05, 1.2) if r.random() < 0.3 else r.uniform(0.1, 0.5)) * size if damaged else 0.3 * size
    )
    needed = left + width + r.uniform(0.05, 0.4) * size
    least, most = RATIOS[rows]
    wide = round(max(needed, height * least) * (r.uniform(1, 1.9) if damaged and r.random() < 0.35 else 1))
    if needed > most * height:
        return None
    wide = min(wide, int(most * height))
    paper = 255 if not damaged or r.random() < 0.55 else r.randint(200, 254)
    picture = Image.new("L", (wide, height), paper)
    colour = (r.randint(0, 70) if r.random() < 0.8 else r.randint(60, 110)) if damaged else 0
    ImageDraw.Draw(picture).text((left, round(ink * above - top)), line, font=face, fill=colour)
    if damaged:
        picture = _damaged(r, picture, paper, size)
    high, across = scaled_size(height, wide)
    if high != UNIT * rows or across > UNIT * WIDEST:
        return None
    boxed = damaged and r.random() < 0.35
    picture, scale, shift = _scaled(r, picture, (across, high), boxed=boxed)
    placed = tuple(((left + a) * scale + shift, (left + b) * scale + shift) for a, b in spans)
    return Line(pixels=np.asarray(picture), text=line, spans=placed)


def _scaled(
    r: random.Random, picture: Image.Image, size: tuple[int, int], *, boxed: bool
) -> tuple[Image.Image, float, int]:
    """Scale as vLLM and PaddleX do, or as llama.cpp, which keeps the shape and fills up with black."""
    if not boxed:
        return picture.resize(size, Image.Resampling.BICUBIC), size[0] / picture.width, 0
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inner = (round(picture.width * scale), round(picture.height * scale))
    method = r.choice((Image.Resampling.BICUBIC, Image.Resampling.BILINEAR))
    left = (size[0] - inner[0]) // 2
    out = Image.new("L", size, 0)
    out.paste(picture.resize(inner, method), (left, (size[1] - inner[1]) // 2))
    return out, scale, left


def _damaged(r: random.Random, picture: Image.Image, paper: int, size: int) -> Image.Image:
    if r.random() < 0.18:
        picture = picture.rotate(r.uniform(-0.45, 0.45), Image.Resampling.BICUBIC, fillcolor=paper)
    if r.random() < 0.2 and size >= 20:
        picture = picture.filter(ImageFilter.GaussianBlur(r.uniform(0.2, 0.7) * size / 28))
    if r.random() < 0.12:
        noise = np.random.default_rng(r.getrandbits(32)).normal(
            0, r.uniform(2, 9), (picture.height, picture.width)
        )
        picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    if r.random() < 0.5:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=r.choice((60, 75, 85, 95)))
        picture = Image.open(file)
        picture.load()
    return picture


@cache
def _face(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FOLDER / name, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _letter(name: str, size: int, letter: str) -> tuple[float, float, float]:
    """Advance, left and right end of the ink."""
    left, _, right, _ = _face(name, size).getbbox(letter)
    return _face(name, size).getlength(letter), left, right


def _spans(name: str, size: int, line: str) -> tuple[list[tuple[float, float]], float]:
    """Where the ink of each character is; a space is the gap between its neighbours. And the width of all."""
    places, x = [], 0.0
    for letter in line:
        places.append(x)
        x += _letter(name, size, letter)[0]
    width = _face(name, size).getlength(line)
    scale = width / max(x, 1e-6)  # kerning
    ink = [
        (p * scale + _letter(name, size, c)[1], p * scale + _letter(name, size, c)[2])
        for p, c in zip(places, line, strict=True)
    ]
    gaps = {n: (ink[n - 1][1], ink[n + 1][0]) for n, letter in enumerate(line) if letter == " "}
    return [gaps.get(n, span) for n, span in enumerate(ink)], width


@cache
def _words() -> tuple[str, ...]:
    found = (word.strip() for word in WORDS.read_text("utf-8").splitlines())
    return tuple(word for word in found if word.isascii() and 0 < len(word) < 13)


def _word(r: random.Random) -> str:
    word, chance = r.choice(_words()), r.random()
    return word.capitalize() if chance < 0.22 else word.upper() if chance < 0.32 else word


def _piece(r: random.Random, kind: float) -> str:
    chance = r.random()
    if kind < 0.1:
        return _nonsense(r) if chance < 0.6 else _number(r) if chance < 0.8 else _word(r)
    if kind < 0.28:
        return _number(r) if chance < 0.6 else _word(r)
    return _word(r) if chance < 0.85 else _number(r) if chance < 0.95 else _nonsense(r)


def _nonsense(r: random.Random) -> str:
    groups = (LOWER, UPPER, DIGITS, DIGITS, LOWER, UPPER, SYMBOLS if r.random() < 0.5 else LOWER)
    return "".join(r.choice(r.choice(groups)) for _ in range(r.randint(1, 9)))


def _number(r: random.Random) -> str:
    day, month, year = r.randint(1, 31), r.randint(1, 12), r.randint(1990, 2030)
    dot = r.choice("./")
    return r.choice(
        (
            str(r.randint(0, 9999)),
            str(r.randint(0, 9999)),
            f"{r.uniform(0, 2000):.2f}",
            f"{r.uniform(0, 2000):.2f}",
            f"{r.randint(1, 999)}{r.choice(('', '.00', ',50'))}",
            f"{year}-{month:02}-{day:02}",
            f"{day}{dot}{month}{dot}{year}",
            f"{r.randint(0, 23):02}:{r.randint(0, 59):02}",
            f"{r.choice('$+-#')}{r.randint(1, 9999)}",
            f"{r.randint(1, 100)}%",
        )
    )
