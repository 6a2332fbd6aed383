"""The language model of the embedded model; it copies what the vision tower saw.

Its weights are computed, not trained.

The vision tower says, for the left and the right half of each token of the picture, which character has its
middle there, and whether any has. The four layers read these out in order:

1. mark the answer (all from "OCR:" on), and make the "whether any" a clear yes or no;
2. count: on the picture the characters up to here, in the answer its tokens;
3. turn both counts into codes, one dimension for each count;
4. look up the half token whose count is the next of the answer, and hand its character to the output.

Where no half token has that count, the end token wins. Without "OCR:" in the prompt nothing is counted, and
the answer is empty. A constant far above all else keeps the normalisations from changing anything, and a base
of the rotary positions far above the usual one leaves most dimensions of a head alone: both need float32 when
the model is served.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

CHARACTERS = 95  # printable ASCII: what the vision tower tells apart
LONGEST = 80  # characters of a line
# Two heads a layer would do. PaddleX's native engine reads the weights wrongly unless heads share keys, so
# each has a companion that adds nothing.
HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS, HEAD_SIZE = 384, 176, 4, 4, 2, 128
SHARED = HEADS // KEY_HEADS
ROPE_BASE, ROPE_SECTIONS = 1e15, (16, 24, 24)
STILL = 20  # first pair of a head's dimensions that hardly rotates: 2e-5 a position

# in every token; so large that no score of the vision tower, of which some reach 100, changes the norm
CONSTANT = 1e6
SINK = 20.0  # how many characters the first token of the prompt weighs when characters are counted
# What a match puts into query and key: exact also in float16, in which llama.cpp keeps keys, so that counts
# stay whole.
STRENGTH = 21.25
SURE = STRENGTH**2 / math.sqrt(HEAD_SIZE)  # the attention score of a match over none
CLEAR = 1000.0  # what a found character has over every other token: far more than glyphs differ

# The dimensions of the residual stream.
ONE, FIRST, ASKED, ANSWER, WRITTEN, SEEN = range(6)  # constant, first token, "OCR:", answer, text, picture
LEFT_HERE, RIGHT_HERE, LEFT, RIGHT = range(6, 10)  # as the vision tower says it, and as clear 0 or 1
LEFT_SHARE, RIGHT_SHARE, LEFT_COUNT, RIGHT_COUNT, FOUND = range(10, 15)
LEFT_CODE = 16
RIGHT_CODE = LEFT_CODE + LONGEST
LEFT_GLYPH = RIGHT_CODE + LONGEST
RIGHT_GLYPH = LEFT_GLYPH + CHARACTERS

Row = Mapping[int, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """A matrix of zeros that numbers are put into."""

    rows: int
    columns: int
    numbers: dict[tuple[int, int], float] = field(default_factory=dict)

    def __setitem__(self, place: tuple[int, int], value: float) -> None:
        self.numbers[place] = value

    def data(self) -> array[float]:
        """All numbers, row by row, as float32."""
        out = array("f", bytes(4 * self.rows * self.columns))
        for (row, column), value in self.numbers.items():
            out[row * self.columns + column] = value
        return out


def _keys() -> Matrix:
    return Matrix(rows=KEY_HEADS * HEAD_SIZE, columns=HIDDEN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer: attention that does nothing until rows are set, and an MLP that grows unit by unit."""

    query: Matrix = field(default_factory=lambda: Matrix(rows=HEADS * HEAD_SIZE, columns=HIDDEN))
    key: Matrix = field(default_factory=_keys)
    value: Matrix = field(default_factory=_keys)
    output: Matrix = field(default_factory=lambda: Matrix(rows=HIDDEN, columns=HEADS * HEAD_SIZE))
    gate: Matrix = field(default_factory=lambda: Matrix(rows=INNER, columns=HIDDEN))
    up: Matrix = field(default_factory=lambda: Matrix(rows=INNER, columns=HIDDEN))
    down: Matrix = field(default_factory=lambda: Matrix(rows=HIDDEN, columns=INNER))

    def match(self, head: int, place: int, query: Row, key: Row) -> None:
        """Add SURE x (query row . asking token) x (key row . token that is looked at) to a head's scores."""
        for matrix, first, row in ((self.query, head * SHARED, query), (self.key, head, key)):
            for dimension, weight in row.items():
                matrix[first * HEAD_SIZE + _still(place), dimension] = STRENGTH * weight

    def carry(self, head: int, place: int, value: Row, to: int) -> None:
        """What a head brings from where it looks: the row there, to the dimension `to` here."""
        for dimension, weight in value.items():
            self.value[head * HEAD_SIZE + place, dimension] = weight
        self.output[to, head * SHARED * HEAD_SIZE + place] = 1.0

    def ramp(self, dimension: int, knee: float, steep: float, out: Row) -> None:
        """out += weight x max(0, dimension - knee), with a knee of about 5 / steep."""
        self._unit(
            {dimension: steep, ONE: -steep * knee}, {ONE: 1.0}, {to: w / steep for to, w in out.items()}
        )

    def add(self, dimension: int, out: Row) -> None:
        """out += weight x dimension. (silu(16) is 16 to the seventh digit.)"""
        self._unit({ONE: 16.0}, {dimension: 1.0}, {to: weight / 16.0 for to, weight in out.items()})

    def _unit(self, gate: Row, up: Row, out: Row) -> None:
        unit = 1 + max((row for row, _ in self.gate.numbers), default=-1)
        for dimension, weight in gate.items():
            self.gate[unit, dimension] = weight
        for dimension, weight in up.items():
            self.up[unit, dimension] = weight
        for to, weight in out.items():
            self.down[to, unit] = weight


def layers() -> tuple[Layer, ...]:
    """The four layers of the module's description."""
    return _marking(), _counting(), _coding(), _looking_up()


def norm() -> array[float]:
    """Weights of every normalisation: they give back what the constant took and make the constant one."""
    weights = array("f", [CONSTANT / math.sqrt(HIDDEN)]) * HIDDEN
    weights[ONE] = 1 / math.sqrt(HIDDEN)
    return weights


def embedding(size: int, *, first: int, asked: int) -> Matrix:
    """The token embedding of a vocabulary; `first` begins every prompt, `asked` is "OCR:"."""
    matrix = Matrix(rows=size, columns=HIDDEN)
    for token in range(size):
        matrix[token, ONE] = CONSTANT
        matrix[token, WRITTEN] = 1.0
        matrix[token, LEFT_HERE] = matrix[token, RIGHT_HERE] = -10.0
    matrix[asked, ASKED] = 1.0
    matrix[first, FIRST] = 1.0
    matrix[first, WRITTEN] = 0.0
    return matrix


def head(size: int, *, end: int, characters: tuple[int, ...]) -> Matrix:
    """The output head; `characters` are the tokens of CHARACTERS in their order."""
    matrix = Matrix(rows=size, columns=HIDDEN)
    for token in range(size):
        matrix[token, ONE] = -CLEAR
    matrix[end, ONE] = CLEAR / 2  # wins where nothing was found
    for place, token in enumerate(characters):
        matrix[token, ONE] = 0.0
        matrix[token, FOUND] = CLEAR
        matrix[token, LEFT_GLYPH + place] = 1.0
    return matrix


def picture_rows() -> tuple[tuple[int, ...], dict[int, float]]:
    """Where the vision tower's outputs go, in their order, and what else a token of the picture holds."""
    glyphs = (*range(LEFT_GLYPH, LEFT_GLYPH + CHARACTERS), *range(RIGHT_GLYPH, RIGHT_GLYPH + CHARACTERS))
    return (*glyphs, LEFT_HERE, RIGHT_HERE), {ONE: CONSTANT, SEEN: 1.0}


def _still(place: int) -> int:
    """A dimension of a head that positions hardly rotate, the stillest first."""
    half = HEAD_SIZE // 2
    still: tuple[int, ...] = (*range(half - 1, STILL - 1, -1), *range(HEAD_SIZE - 1, half + STILL - 1, -1))
    return still[place]


def _share(count: int) -> float:
    """Which share of the attention `count` characters get beside the sink."""
    return count / (count + SINK)


def _marking() -> Layer:
    layer = Layer()
    layer.match(0, 0, {ONE: 1.0}, {ASKED: 1.0, FIRST: 0.5})
    layer.carry(0, 0, {ASKED: 1.0}, ANSWER)
    for said, clear in ((LEFT_HERE, LEFT), (RIGHT_HERE, RIGHT)):
        layer.ramp(said, -0.01, 2000.0, {clear: 50.0})
        layer.ramp(said, 0.01, 2000.0, {clear: -50.0})
    return layer


def _counting() -> Layer:
    layer = Layer()
    for half, (here, share) in enumerate(((LEFT, LEFT_SHARE), (RIGHT, RIGHT_SHARE))):
        layer.match(half, 0, {SEEN: 1.0}, {here: 1.0})
        layer.match(half, 1, {ONE: 1.0}, {ONE: -1.0, FIRST: 1.0 + math.log(SINK) / SURE})
        layer.carry(half, 0, {ONE: 1.0, FIRST: -1.0}, share)
    layer.match(0, 2, {WRITTEN: 1.0}, {ANSWER: 1.0})
    # From share to count: straight between whole counts.
    slopes = [1 / (_share(count + 1) - _share(count)) for count in range(LONGEST + 2)]
    for share in (LEFT_SHARE, RIGHT_SHARE):
        for count, (before, slope) in enumerate(zip([0.0, *slopes], slopes, strict=False)):
            layer.ramp(share, _share(count), 3000.0, dict.fromkeys((LEFT_COUNT, RIGHT_COUNT), slope - before))
    # A right half comes after the left half of its token; halves without a character get a count that is no
    # count; of the answer's tokens "OCR:", a line break, "Assistant:" and what follows it, the last asks for
    # character 1.
    layer.add(RIGHT, {LEFT_COUNT: -1.0, RIGHT_COUNT: 200.0})
    layer.add(LEFT, {LEFT_COUNT: 200.0})
    layer.add(SEEN, {LEFT_COUNT: -200.0, RIGHT_COUNT: -200.0})
    layer.add(WRITTEN, {LEFT_COUNT: -3.0})
    return layer


def _coding() -> Layer:
    layer = Layer()
    for count, code in ((LEFT_COUNT, LEFT_CODE), (RIGHT_COUNT, RIGHT_CODE)):
        for knee in range(LONGEST + 2):  # three ramps make a tent over each count
            tents = {knee - 1: 1.0, knee: -2.0, knee + 1: 1.0}
            out = {code + top - 1: weight for top, weight in tents.items() if 1 <= top <= LONGEST}
            layer.ramp(count, float(knee), 40.0, out)
    return layer


def _looking_up() -> Layer:
    layer = Layer()
    for half, (code, glyph) in enumerate(((LEFT_CODE, LEFT_GLYPH), (RIGHT_CODE, RIGHT_GLYPH))):
        for place in range(LONGEST):
            layer.match(half, place, {LEFT_CODE + place: 1.0}, {code + place: 1.0})
        # Text has codes, too, and is not what is looked for; the first token is where to look when there is
        # no match.
        layer.match(half, LONGEST, {ONE: 1.0}, {WRITTEN: -2.0, FIRST: 0.35})
        for character in range(CHARACTERS):
            layer.carry(half, character, {glyph + character: 1.0}, LEFT_GLYPH + character)
        layer.carry(half, CHARACTERS, {SEEN: 1.0}, FOUND)
    return layer
