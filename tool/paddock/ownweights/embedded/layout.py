"""Writes the layout network of the embedded model: run inside a pipeline API image (it needs paddlepaddle).

    python -m paddock.ownweights.embedded.layout --model PP-DocLayoutV3 --out DIR

A static Paddle network with the inputs and outputs of PP-DocLayoutV3 and not one trained number. It finds
what is dark on the page, joins it to lines, tells pictures and ruled tables from text, and orders the blocks
by column. Each line of text becomes a block of its own, cut as the embedded reader wants it: wide, with a
little paper around the letters. In a ruled table each line of a cell is such a block too, and the region's
mask hides from PaddleX what is not the cell. Of paddock it imports `layoutfiles.py` alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle import Tensor
from paddle.nn import functional

from paddock.ownweights.layoutfiles import LABELS, MASK, SIDE, write

CONTENT, DOC_TITLE, IMAGE, PARAGRAPH_TITLE, REFERENCE_CONTENT, TABLE, TEXT = (
    LABELS.index(label)
    for label in ("content", "doc_title", "image", "paragraph_title", "reference_content", "table", "text")
)
CELL = 4  # pixels of that square in one cell, across
ACROSS = SIDE // CELL
PIECES = 192  # connected pieces of ink that are looked at on a page: the largest
ROUNDS = 5  # of spreading along rows and columns; pieces of text are whole after three
TABLE_ROUNDS = 2  # the same for rules, which are whole then
TABLES = 4  # ruled tables of a page: the largest
BLOCKS = PIECES + TABLES
NUMBERS = 64  # more than a table has columns
FAR = 1e6  # pixels: beyond every page
RULE = (61, 41)  # pixels of the square, across and down: no stroke of a letter is that long
SCORE = 0.9

DARK = 0.86  # of the paper's brightness: what is darker is ink
WORD_GAP = 1.1  # heights of a line between two of its pieces
TITLE = 1.3  # heights of an ordinary line
BIG = 2.6  # heights of an ordinary line, from which a piece is a picture or a table
PAD, PAD_LEFT = 0.2, 0.35  # heights of a line around its letters
WIDE = 16.4  # widths to height: from 16 on, PaddleOCR-VL's processor gives three rows of tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Boxes:
    """Boxes of each page: pages x pieces, in pixels of the page."""

    left: Tensor
    top: Tensor
    right: Tensor
    bottom: Tensor

    @property
    def width(self) -> Tensor:
        return self.right - self.left

    @property
    def height(self) -> Tensor:
        return self.bottom - self.top

    def turned(self) -> Boxes:
        """The same boxes of the page mirrored at its diagonal."""
        return Boxes(left=self.top, top=self.left, right=self.bottom, bottom=self.right)

    def map(self, change: Callable[[Tensor], Tensor]) -> Boxes:
        """Each corner changed."""
        return Boxes(
            left=change(self.left), top=change(self.top), right=change(self.right), bottom=change(self.bottom)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """In which cell of a ruled table each block lies, and what the rules around it leave: pages x blocks.

    `number` grows along the rows and differs between tables; 0 is none, and `table` then says nothing.
    """

    table: Tensor
    number: Tensor
    room: Boxes


class PageLayout(paddle.nn.Layer):  # type: ignore[misc]
    """(im_shape, image, scale_factor) -> boxes [N, 7], count [pages], masks [N, 200, 200].

    A box is class, score, four corners in pixels of the page, place in the reading order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("down", paddle.arange(SIDE, dtype="int64").reshape([SIDE, 1]))
        self.register_buffer("across", paddle.arange(ACROSS, dtype="int64").reshape([1, ACROSS]))

    def forward(self, im_shape: Tensor, image: Tensor, scale_factor: Tensor) -> tuple[Tensor, ...]:
        size = (im_shape / scale_factor)[:, [1, 0]].unsqueeze(1)  # pages, 1, width and height
        ink = _ink(image)
        tables, is_table = self._tables(ink, size)
        pieces, there = self._pieces(_smeared(_without_rules(ink, tables, is_table, size)), size, ROUNDS)
        cells = _cells(ink, _with_tables(pieces, tables), tables, is_table, size)
        big = there & (pieces.height > BIG * _usual_height(pieces, there))
        there = there & ~_inside(pieces, pieces, big)
        lines, is_line = _joined(pieces, there & ~big, cells)
        usual = _usual_height(lines, is_line)
        blocks = _with_tables(_either(big, pieces, lines), tables)
        there = paddle.concat([(there & big) | is_line, is_table], 1)
        big = paddle.concat([big, is_table], 1)
        place, after_left = _order(blocks, there, cells)
        label = _labels(blocks, usual, place, after_left, cells)
        label = paddle.where(big, paddle.full_like(label, IMAGE), label)
        label = paddle.concat([label[:, :PIECES], paddle.full_like(label[:, PIECES:], TABLE)], 1)
        seen = _seen(blocks, usual, cells, size)
        cut = _cut(blocks, there, big, usual, size=size, cells=cells)
        cut = _beyond_cells(cut, seen, cells, size)
        return _output(label, cut, seen, place, there=there, size=size)

    def _tables(self, ink: Tensor, size: Tensor) -> tuple[Boxes, Tensor]:
        """The largest ruled tables, and which of them there are: pages, TABLES."""
        pieces, there = self._pieces(_smeared(ink), size, TABLE_ROUNDS)
        covered, rows = _coverage(ink, pieces, size)
        _, columns = _coverage(ink.transpose([0, 2, 1]), pieces.turned(), size[:, :, [1, 0]])
        long = (pieces.width * SIDE > RULE[0] * size[:, :, 0]) & (
            pieces.height * SIDE > RULE[1] * size[:, :, 1]
        )
        table = there & long & (covered < 0.4) & (rows >= 3) & (columns >= 2)
        _, chosen = paddle.topk(table.astype("float32") * pieces.width * pieces.height, TABLES)
        found = pieces.map(lambda corner: paddle.take_along_axis(corner, chosen, 1))
        return found, paddle.take_along_axis(table.astype("int32"), chosen, 1) > 0

    def _pieces(self, ink: Tensor, size: Tensor, rounds: int) -> tuple[Boxes, Tensor]:
        """The largest connected pieces of ink, and which of them there are."""
        zero = paddle.zeros([SIDE, ACROSS], "int64")
        number = self.down * ACROSS + self.across + 1
        # What spreads through a piece: its largest number, and how far it reaches to each side.
        sides = [
            SIDE - self.down + zero,
            self.down + 1 + zero,
            ACROSS - self.across + zero,
            self.across + 1 + zero,
        ]
        start = paddle.stack([number, *sides]).unsqueeze(0)
        reach = start * ink.unsqueeze(1).astype("int64")  # pages, 5, SIDE, ACROSS
        mask = ink.unsqueeze(1)
        for _ in range(rounds):
            reach = _spread(_spread(reach, mask, axis=3), mask, axis=2)
        flat = reach.flatten(2)
        root = (flat[:, 0] == number.flatten().unsqueeze(0)) & ink.flatten(1)
        high = flat[:, 1] + flat[:, 2] - SIDE
        wide = flat[:, 3] + flat[:, 4] - ACROSS
        _, chosen = paddle.topk(root.astype("float32") * (high * wide * CELL).astype("float32"), PIECES)
        found = paddle.take_along_axis(flat, chosen.unsqueeze(1), 2)  # pages, 5, PIECES
        up, down, left, right = (found[:, row].astype("float32") for row in range(1, 5))
        there = paddle.take_along_axis(root.astype("int32"), chosen, 1) > 0
        # Smearing made each piece one cell longer to either side.
        x = CELL * size[:, :, 0] / SIDE
        y = size[:, :, 1] / SIDE
        boxes = Boxes(
            left=(ACROSS - left + 1) * x, top=(SIDE - up) * y, right=(right - 1) * x, bottom=down * y
        )
        specks = (up + down - SIDE <= 2) & (left + right - ACROSS <= 4)
        return boxes, there & ~specks


def _ink(image: Tensor) -> Tensor:
    """Where the page is dark: pages, SIDE, SIDE."""
    grey = image.mean(axis=1)
    small = functional.avg_pool2d(grey.unsqueeze(1), 8).flatten(1)
    paper = paddle.topk(small, small.shape[1] // 3)[0][:, -1].reshape([-1, 1, 1])
    return grey < DARK * paper


def _smeared(ink: Tensor) -> Tensor:
    """Ink in cells, joined across the gaps between letters and across the hairline gaps within them."""
    cells = functional.max_pool2d(ink.astype("float32").unsqueeze(1), (1, CELL), stride=(1, CELL))
    wide = functional.max_pool2d(cells, (3, 3), stride=1, padding=1)
    return (-functional.max_pool2d(-wide, (3, 1), stride=1, padding=(1, 0))).squeeze(1) > 0.5


def _spread(values: Tensor, mask: Tensor, *, axis: int) -> Tensor:
    """Each value becomes the largest of its unbroken run of ink along `axis`."""
    paper = (~mask).astype("int64")
    for _ in range(2):
        run = paddle.cumsum(paper, axis) * (SIDE * ACROSS + 1)
        values = paddle.cummax(values + run, axis, "int64")[0] - run
        values, paper = paddle.flip(values, [axis]), paddle.flip(paper, [axis])
    return values * mask.astype("int64")


def _usual_height(boxes: Boxes, there: Tensor) -> Tensor:
    """The median height of the boxes of each page, wide ones counted more often: pages, 1."""
    weight = there.astype("float32") * boxes.width
    order = paddle.argsort(boxes.height, 1)
    heights = paddle.take_along_axis(boxes.height, order, 1)
    share = paddle.cumsum(paddle.take_along_axis(weight, order, 1), 1) / (weight.sum(1, keepdim=True) + 1e-6)
    return paddle.where(share >= 0.5, heights, paddle.full_like(heights, 1e9)).min(1, keepdim=True)


def _coverage(ink: Tensor, boxes: Boxes, size: Tensor) -> tuple[Tensor, Tensor]:
    """How much of each box is ink, and how many of its rows are ink from end to end: pages, pieces."""
    share, within = _inked(ink, boxes, size)
    line = (share > 0.8).astype("float32")
    return share.sum(1) / paddle.clip(within.sum(1), 1), _begins(line).sum(1)


def _inked(ink: Tensor, boxes: Boxes, size: Tensor) -> tuple[Tensor, Tensor]:
    """How much of each row of a box is ink, and which rows of the page are the box's: pages, SIDE, pieces."""
    total = functional.pad(paddle.cumsum(ink.astype("float32"), 2), [1, 0], value=0.0, data_format="NCL")
    left, right = (
        paddle.clip(edge * SIDE / size[:, :, 0], 0, SIDE).astype("int64")
        for edge in (boxes.left, boxes.right)
    )
    top, bottom = (edge * SIDE / size[:, :, 1] for edge in (boxes.top, boxes.bottom))
    width = paddle.clip((right - left).astype("float32"), 1)
    inked = paddle.take_along_axis(total, right.unsqueeze(1), 2) - paddle.take_along_axis(
        total, left.unsqueeze(1), 2
    )
    row = paddle.arange(SIDE, dtype="float32").reshape([1, SIDE, 1]) + 0.5
    within = ((row > top.unsqueeze(1)) & (row < bottom.unsqueeze(1))).astype("float32")
    return inked / width.unsqueeze(1) * within, within


def _begins(line: Tensor) -> Tensor:
    """Where a run of rows begins: pages, SIDE, pieces."""
    begins = line - functional.pad(line, [1, 0], value=0.0, data_format="NLC")[:, :-1]
    return (begins > 0).astype("float32")


def _without_rules(ink: Tensor, tables: Boxes, is_table: Tensor, size: Tensor) -> Tensor:
    """The ink, within tables without what is longer than any stroke of a letter."""
    dark = ink.astype("float32").unsqueeze(1)
    across, down = ((1, RULE[0]), (RULE[1], 1))
    rules = paddle.maximum(_opened(dark, across), _opened(dark, down))
    rules = functional.max_pool2d(rules, (3, 3), stride=1, padding=1).squeeze(1) > 0.5
    at = paddle.arange(SIDE, dtype="float32").reshape([1, SIDE, 1])
    margin = 2.0 * CELL

    def covered(low: Tensor, high: Tensor) -> Tensor:
        inside = (at > low.unsqueeze(1) - margin) & (at < high.unsqueeze(1) + margin) & is_table.unsqueeze(1)
        return inside.astype("float32")

    x, y = SIDE / size[:, :, 0], SIDE / size[:, :, 1]
    down_table, across_table = (
        covered(tables.top * y, tables.bottom * y),
        covered(tables.left * x, tables.right * x),
    )
    within = paddle.matmul(down_table, across_table, transpose_y=True) > 0
    return ink & ~(rules & within)


def _opened(dark: Tensor, kernel: tuple[int, int]) -> Tensor:
    """What of the ink is at least as long as the kernel."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    kept = -functional.max_pool2d(-dark, kernel, stride=1, padding=padding)
    return functional.max_pool2d(kept, kernel, stride=1, padding=padding)


def _cells(ink: Tensor, blocks: Boxes, tables: Boxes, is_table: Tensor, size: Tensor) -> Cells:
    """The cell of each block: the last blocks are the tables themselves and lie in none."""
    x, y = (blocks.left + blocks.right) / 2, (blocks.top + blocks.bottom) / 2
    within = (x.unsqueeze(2) > tables.left.unsqueeze(1)) & (x.unsqueeze(2) < tables.right.unsqueeze(1))
    within = (
        within & (y.unsqueeze(2) > tables.top.unsqueeze(1)) & (y.unsqueeze(2) < tables.bottom.unsqueeze(1))
    )
    within = within & is_table.unsqueeze(1) & (paddle.arange(BLOCKS) < PIECES).reshape([1, BLOCKS, 1])
    inside, table = within.any(2), paddle.argmax(within.astype("int32"), 2, keepdim=True)
    turned = ink.transpose([0, 2, 1])
    row, top, bottom = _between(ink, tables, size, y, table)
    column, left, right = _between(turned, tables.turned(), size[:, :, [1, 0]], x, table)
    number = (table.squeeze(2).astype("float32") * NUMBERS + row) * NUMBERS + column + 1
    far = paddle.full_like(x, FAR)
    room = Boxes(left=left, top=top, right=right, bottom=bottom)
    room = _either(inside, room, Boxes(left=-far, top=-far, right=far, bottom=far))
    return Cells(table=table.squeeze(2), number=number * inside.astype("float32"), room=room)


def _between(
    ink: Tensor, tables: Boxes, size: Tensor, y: Tensor, table: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """How many rules of its table stand above each place, and where the next ones above and below it end."""
    rule = (_inked(ink, tables, size)[0] > 0.8).astype("int64")  # pages, SIDE, tables
    at = paddle.clip(y * SIDE / size[:, :, 1], 0, SIDE - 1).astype("int64")
    step = paddle.arange(1, SIDE + 1, dtype="int64").reshape([1, SIDE, 1])
    count = paddle.cumsum(_begins(rule.astype("float32")), 1)
    above = paddle.cummax(rule * step, 1, "int64")[0]
    below = SIDE - paddle.flip(paddle.cummax(paddle.flip(rule * (SIDE + 1 - step), [1]), 1, "int64")[0], [1])

    def here(values: Tensor) -> Tensor:
        index = at.unsqueeze(2).expand([-1, -1, TABLES])
        of_all = paddle.take_along_axis(values.astype("float32"), index, 1)  # pages, blocks, tables
        return paddle.take_along_axis(of_all, table, 2).squeeze(2)

    pixel = size[:, :, 1] / SIDE
    return here(count), (here(above) + 1) * pixel, (here(below) - 1) * pixel


def _combined(one: Boxes, other: Boxes, combine: Callable[[Tensor, Tensor], Tensor]) -> Boxes:
    return Boxes(
        left=combine(one.left, other.left),
        top=combine(one.top, other.top),
        right=combine(one.right, other.right),
        bottom=combine(one.bottom, other.bottom),
    )


def _either(first: Tensor, one: Boxes, other: Boxes) -> Boxes:
    """The boxes of `one` where `first`, else those of `other`."""
    return _combined(one, other, lambda a, b: paddle.where(first, a, b))


def _with_tables(pieces: Boxes, tables: Boxes) -> Boxes:
    """All blocks of a page: pieces or lines, and after them the tables."""
    return _combined(pieces, tables, lambda a, b: paddle.concat([a, b], 1))


def _pair(values: Tensor) -> tuple[Tensor, Tensor]:
    """The same values as rows and as columns of a square of pairs."""
    return values.unsqueeze(2), values.unsqueeze(1)


def _overlap(low: Tensor, high: Tensor) -> Tensor:
    """How far two intervals overlap, for each pair; below zero: the gap between them."""
    (low_a, low_b), (high_a, high_b) = _pair(low), _pair(high)
    return paddle.minimum(high_a, high_b) - paddle.maximum(low_a, low_b)


def _inside(inner: Boxes, outer: Boxes, is_outer: Tensor) -> Tensor:
    """Whether the middle of a box lies in one of the outer boxes, and the box is the smaller one."""
    x = ((inner.left + inner.right) / 2).unsqueeze(2)
    y = ((inner.top + inner.bottom) / 2).unsqueeze(2)
    within = (x > outer.left.unsqueeze(1)) & (x < outer.right.unsqueeze(1))
    within = within & (y > outer.top.unsqueeze(1)) & (y < outer.bottom.unsqueeze(1)) & is_outer.unsqueeze(1)
    area = inner.width * inner.height
    return (within & (area.unsqueeze(2) < (outer.width * outer.height).unsqueeze(1))).any(2)


def _joined(pieces: Boxes, there: Tensor, cells: Cells) -> tuple[Boxes, Tensor]:
    """Pieces of one line as one box, and which boxes stand for a line."""
    height_a, height_b = _pair(pieces.height)
    low, high = paddle.minimum(height_a, height_b), paddle.maximum(height_a, height_b)
    beside = _overlap(pieces.left, pieces.right)
    above = _overlap(pieces.top, pieces.bottom)
    word = (above > 0.5 * low) & (beside > -WORD_GAP * high)
    dot = (low < 0.45 * high) & (above > -0.3 * high) & (beside > 0)
    cell_a, cell_b = _pair(cells.number[:, :PIECES])
    near = (word | dot) & (cell_a == cell_b) & there.unsqueeze(1) & there.unsqueeze(2)
    near = near.astype("float32") + paddle.eye(PIECES)
    for _ in range(6):  # pieces that are joined over others
        near = (paddle.matmul(near, near) > 0).astype("float32")
    far = (1 - near) * 1e9
    joined = Boxes(
        left=(pieces.left.unsqueeze(1) + far).min(2),
        top=(pieces.top.unsqueeze(1) + far).min(2),
        right=(pieces.right.unsqueeze(1) - far).max(2),
        bottom=(pieces.bottom.unsqueeze(1) - far).max(2),
    )
    first = paddle.argmax(near, 2) == paddle.arange(PIECES).unsqueeze(0)
    return joined, there & first


def _order(blocks: Boxes, there: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
    """The place of each block in the reading order, and whether it begins right of the one before it.

    A block comes after those above it that share some of its width, and after those left of it unless a block
    that spans both lies between (T. M. Breuel, High Performance Document Layout Analysis, 2003). What lies in
    a table comes after the table, cell by cell.
    """
    free = there & (cells.number == 0)
    share = _overlap(blocks.left, blocks.right) > 0
    middle_a, middle_b = _pair((blocks.top + blocks.bottom) / 2)
    above = middle_a < middle_b
    left = blocks.right.unsqueeze(2) <= blocks.left.unsqueeze(1)
    spans = share.unsqueeze(3) & share.unsqueeze(1)  # pages, a, between, b
    low, high = paddle.minimum(middle_a, middle_b), paddle.maximum(middle_a, middle_b)
    middle = ((blocks.top + blocks.bottom) / 2).unsqueeze(1).unsqueeze(3)
    between = (middle > low.unsqueeze(2)) & (middle < high.unsqueeze(2))
    split = (spans & between & free.unsqueeze(1).unsqueeze(3)).any(2)
    before = ((share & above) | (left & ~split)) & free.unsqueeze(1) & free.unsqueeze(2)
    before = before.astype("float32")
    for _ in range(8):  # also over others
        before = paddle.clip(before + paddle.matmul(before, before), 0, 1)
    rank = before.sum(1) + blocks.top / 1e6 + blocks.left / 1e9 + (~free).astype("float32") * 1e6
    place = paddle.argsort(paddle.argsort(rank, 1), 1).astype("float32")
    cell_a, cell_b = _pair(cells.number)
    table_a, table_b = _pair(cells.table)
    earlier = (cell_a < cell_b) | ((cell_a == cell_b) & above)
    earlier = (earlier & (table_a == table_b) & (there & ~free).unsqueeze(2)).astype("float32").sum(1)
    of_table = paddle.take_along_axis(place, PIECES + cells.table, 1) + (earlier + 1) / (BLOCKS + 1)
    rank = paddle.where(free, place, of_table) + (~there).astype("float32") * FAR
    place = paddle.argsort(paddle.argsort(rank, 1), 1).astype("float32")
    follows = place.unsqueeze(2) == place.unsqueeze(1) - 1  # a is right before b
    return place, (follows & left).any(1)


def _labels(blocks: Boxes, usual: Tensor, place: Tensor, after_left: Tensor, cells: Cells) -> Tensor:
    """A class for each line of text."""

    def constant(value: int) -> Tensor:
        return paddle.full_like(place, value)

    # PaddleX joins two blocks of the class "text" that lie beside each other to one picture for the model.
    label = paddle.where(after_left, constant(CONTENT), constant(TEXT))
    title = paddle.where(place == 0, constant(DOC_TITLE), constant(PARAGRAPH_TITLE))
    label = paddle.where(blocks.height > TITLE * usual, title, label)
    # PaddleX drops one of two boxes of the same class that overlap by 60 %, so cells beside each other differ
    # in class.
    in_cell = paddle.where(cells.number % 2 == 0, constant(CONTENT), constant(REFERENCE_CONTENT))
    return paddle.where(cells.number > 0, in_cell, label)


def _cut(blocks: Boxes, there: Tensor, big: Tensor, usual: Tensor, *, size: Tensor, cells: Cells) -> Boxes:
    """Lines with paper around them, at least WIDE where the page has room; other blocks as they are."""
    page_width, page_height = size[:, :, 0], size[:, :, 1]
    letters = paddle.maximum(blocks.height, 0.5 * usual)
    other = there.unsqueeze(1) & ~paddle.eye(BLOCKS).astype("bool")
    beside, above = _overlap(blocks.left, blocks.right), _overlap(blocks.top, blocks.bottom)

    def room(gap: Tensor, counts: Tensor) -> Tensor:
        return paddle.where(counts & other & (gap >= 0), gap, paddle.full_like(gap, 1e9)).min(2)

    top_a, top_b = _pair(blocks.top)
    bottom_a, bottom_b = _pair(blocks.bottom)
    left_a, left_b = _pair(blocks.left)
    right_a, right_b = _pair(blocks.right)
    pad = PAD * letters + (letters - blocks.height) / 2
    top = blocks.top - paddle.minimum(pad, room(top_a - bottom_b, beside > 0) / 2)
    bottom = blocks.bottom + paddle.minimum(pad, room(top_b - bottom_a, beside > 0) / 2)
    top = paddle.maximum(top, paddle.minimum(cells.room.top, blocks.top))
    bottom = paddle.minimum(bottom, paddle.maximum(cells.room.bottom, blocks.bottom))
    top = paddle.clip(paddle.round(top), 0)
    bottom = paddle.minimum(paddle.round(bottom), page_height)
    wanted = paddle.ceil(WIDE * (bottom - top)) + 1
    free_left = paddle.minimum(room(left_a - right_b, above > 0) * 0.5, blocks.left)
    free_right = paddle.minimum(room(left_b - right_a, above > 0) * 0.8, page_width - blocks.right)
    near = PAD_LEFT * letters
    pad_left, pad_right = paddle.minimum(near, free_left), paddle.minimum(near, free_right)
    missing = paddle.clip(wanted - blocks.width - pad_left - pad_right, 0)
    more_right = paddle.minimum(missing, free_right - pad_right)
    more_left = paddle.minimum(missing - more_right, free_left - pad_left)
    return Boxes(
        left=paddle.where(big, blocks.left, paddle.floor(blocks.left - pad_left - more_left)),
        top=paddle.where(big, blocks.top, top),
        right=paddle.where(big, blocks.right, paddle.ceil(blocks.right + pad_right + more_right)),
        bottom=paddle.where(big, blocks.bottom, bottom),
    )


def _seen(blocks: Boxes, usual: Tensor, cells: Cells, size: Tensor) -> Boxes:
    """What PaddleX is to see of each block, white for the model around it: of a line in a table its own cell.

    Of a table only a corner, because PaddleX drops all text that lies in what it sees of a table.
    """
    near = PAD_LEFT * paddle.maximum(blocks.height, 0.5 * usual)
    in_cell, far = cells.number > 0, paddle.full_like(blocks.left, FAR)
    is_table = paddle.arange(BLOCKS).unsqueeze(0) >= PIECES
    pixel = (
        size / MASK
    )  # of a region's mask; PaddleX takes corners that are lower than a few pixels for the whole box
    corner = blocks.left + 8 * pixel[:, :, 0], blocks.top + paddle.clip(1.6 * pixel[:, :, 1], 6.0)
    left = paddle.maximum(blocks.left - near, paddle.minimum(cells.room.left, blocks.left))
    right = paddle.minimum(blocks.right + near, paddle.maximum(cells.room.right, blocks.right))
    return Boxes(
        left=paddle.where(in_cell, left, -far),
        top=-far,
        right=paddle.where(in_cell, right, paddle.where(is_table, corner[0], far)),
        bottom=paddle.where(is_table, corner[1], far),
    )


def _beyond_cells(cut: Boxes, seen: Boxes, cells: Cells, size: Tensor) -> Boxes:
    """Boxes of lines in a table, WIDE as others, over what is beside the cell.

    They lie further right from column to column."""
    page, room = size[:, :, 0], cells.room.right - cells.room.left
    wide = paddle.maximum(paddle.ceil(WIDE * cut.height) + 1, seen.right - seen.left)
    wide = paddle.minimum(wide, page)
    over = cells.room.left * (page - wide) / paddle.clip(page - room, 1)
    left = paddle.where(wide > room, over, paddle.minimum(seen.left, cells.room.right - wide))
    right = paddle.ceil(paddle.maximum(left + wide, seen.right))
    inside = Boxes(
        left=paddle.floor(paddle.minimum(left, seen.left)), top=cut.top, right=right, bottom=cut.bottom
    )
    return _either(cells.number > 0, inside, cut)


def _output(
    label: Tensor, cut: Boxes, seen: Boxes, place: Tensor, *, there: Tensor, size: Tensor
) -> tuple[Tensor, ...]:
    score = paddle.full_like(place, SCORE)
    rows = paddle.stack([label, score, cut.left, cut.top, cut.right, cut.bottom, place], 2)
    found = paddle.nonzero(there)
    count = there.astype("int32").sum(1).astype("int32")
    at = paddle.arange(MASK, dtype="float32").reshape([1, 1, MASK])

    def shown(low: Tensor, high: Tensor, side: Tensor) -> Tensor:
        pixel = (side / MASK).unsqueeze(2)
        inside = (at * pixel >= low.unsqueeze(2)) & ((at + 1) * pixel <= high.unsqueeze(2))
        return paddle.gather_nd(inside.astype("int32"), found)

    down, across = shown(seen.top, seen.bottom, size[:, :, 1]), shown(seen.left, seen.right, size[:, :, 0])
    return paddle.gather_nd(rows, found), count, down.unsqueeze(2) * across.unsqueeze(1)


def main() -> None:
    """Read the arguments and write the set."""
    parser = argparse.ArgumentParser(description="Write the layout network of the embedded model.")
    parser.add_argument("--model", choices=("PP-DocLayoutV3",), required=True, help="whose interface it gets")
    parser.add_argument("--out", type=Path, required=True, help="an existing, empty directory")
    arguments = parser.parse_args()
    write(PageLayout(), arguments.out, model=arguments.model)


if __name__ == "__main__":
    main()
