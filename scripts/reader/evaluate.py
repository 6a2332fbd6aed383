"""How well a tower reads lines that it has not seen: character error rate and exact lines, by font."""

from __future__ import annotations

import random

import lines
import torch
from tower import Tower, patches, rotary


def distance(found: str, expected: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(expected) + 1))
    for i, character in enumerate(found, 1):
        above, row[0] = row[0], i
        for j, wanted in enumerate(expected, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (character != wanted))
    return row[-1]


@torch.no_grad()
def read(tower: Tower, pixels: lines.Pixels) -> str:
    """What the language model will copy: of all rows, in the order of the tokens."""
    rows, columns = pixels.shape[0] // lines.PATCH, pixels.shape[1] // lines.PATCH
    glyphs, here = tower(patches(torch.from_numpy(pixels.copy())[None]), *rotary(rows, columns), bottom=False)
    found = glyphs.argmax(-1)[0][here[0] > 0]
    return "".join(chr(0x20 + int(number)) for number in found)


def report(tower: Tower, *, count: int, seed: int, damaged: bool) -> dict[str, tuple[float, float]]:
    """Character error rate and share of exact lines for each of the main fonts."""
    found = {}
    for font in lines.MAIN:
        r, wrong, length, exact = random.Random(seed), 0, 0, 0
        for _ in range(count):
            line = lines.draw(r, font=font, damaged=damaged)
            errors = distance(read(tower, line.pixels), line.text)
            wrong, length, exact = wrong + errors, length + len(line.text), exact + (errors == 0)
        found[font] = (wrong / length, exact / count)
    return found
