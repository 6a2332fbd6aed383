"""Cuts pages for the layout model: those far longer than wide, far wider than long, and very large ones.

The layout model sees every page as 800 x 800 pixels: the print of a receipt ten times as long as wide is two pixels
high there, and is not found. Regions are found in pieces, which end where the page is blank, and are joined as regions
of the whole page; everything else is done with the whole page.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from problems import edges

LONG = 2.5  # times the other side; screens of telephones have up to 2.3, paper less
PIECE = 1.5  # times the other side: a piece is about as long as A4
LEAST_WIDTH, LEAST_HEIGHT = 200, 400  # pixels; what is smaller may be one line, upright or level
LEAST_GUTTER = 24  # pixels without an edge between columns; words are closer
MOST_PIECES = 24
MOST_REGIONS = 2000  # of a page: comparing all with all is PaddleX's way to find double ones
NOISE = 0.02  # of the edges of a usual row: as good as none
Box = tuple[int, int, int, int]  # left, top, right, bottom


class Bounds(threading.local):
    """The bounds (reading.py) of the pages that the running thread works on, in their order; PaddleX hands none on."""

    def __init__(self) -> None:
        self.left: list[int] = []

    def take(self, count: int) -> list[int]:
        """The bounds of the next pages."""
        taken, self.left = self.left[:count], self.left[count:]
        return taken + [0] * (count - len(taken))


bounds = Bounds()


class Piecewise:
    """A layout model that sees large pages in pieces."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, pages: Sequence[np.ndarray[Any, Any]], **settings: Any) -> Iterator[Any]:
        cut = [pieces_of(page, bound) for page, bound in zip(pages, bounds.take(len(pages)), strict=True)]
        found = iter(
            self._model([part(page, box) for page, boxes in zip(pages, cut, strict=True) for box in boxes], **settings)
        )
        for page, boxes in zip(pages, cut, strict=True):
            yield joined(page, boxes, [next(found) for _ in boxes])


def part(page: np.ndarray[Any, Any], box: Box) -> np.ndarray[Any, Any]:
    """What is in a box; the page itself where that is all of it."""
    left, top, right, bottom = box
    whole = page[top:bottom, left:right]
    return page if whole.shape == page.shape else np.ascontiguousarray(whole)


def joined(page: np.ndarray[Any, Any], boxes: Sequence[Box], results: Sequence[Any]) -> Any:
    """The regions of all pieces as those of the page, in the order of the pieces."""
    whole = results[0]
    if len(boxes) == 1:
        return whole
    regions: list[dict[str, Any]] = []
    for (left, top, _, _), result in zip(boxes, results, strict=True):
        for region in result["boxes"]:
            moved = {**region, "order": len(regions) + 1}
            x1, y1, x2, y2 = region["coordinate"]
            moved["coordinate"] = [x1 + left, y1 + top, x2 + left, y2 + top]
            if region.get("polygon_points") is not None:
                points = region["polygon_points"]
                shifted = np.asarray(points) + np.array([left, top], np.asarray(points).dtype)
                moved["polygon_points"] = shifted if isinstance(points, np.ndarray) else shifted.tolist()
            regions.append(moved)
    if len(regions) > MOST_REGIONS:
        raise ValueError(f"found {len(regions)} regions on one page, expected at most {MOST_REGIONS}: send it in parts")
    whole["boxes"] = regions
    whole["input_img"] = page
    return whole


def pieces_of(page: np.ndarray[Any, Any], bound: int) -> list[Box]:
    """Where a page (height, width, BGR) is to be cut: rows first, then columns within a row; all of it if nowhere.

    `bound` is the longest side of a piece of a page that is printed very large, else 0.
    """
    height, width = page.shape[:2]
    boxes: list[Box] = []
    rows = cuts(page[..., 1], longest(height, width, bound) if width >= LEAST_WIDTH else height, always=True)
    for top, bottom in itertools.pairwise(rows):
        columns = [0, width]
        if bottom - top >= LEAST_HEIGHT:
            upright = page[top:bottom, :, 1].T
            columns = cuts(upright, longest(width, bottom - top, bound), always=False)
        boxes += [(left, top, right, bottom) for left, right in itertools.pairwise(columns)]
    return boxes


def longest(side: int, other: int, bound: int) -> int:
    """How long a piece of a side may be."""
    if bound and side > bound * 1.25:
        length = bound
    elif side > LONG * other:
        length = round(PIECE * other)
    else:
        return side
    return max(length, -(-side // MOST_PIECES))


def cuts(grey: np.ndarray[Any, Any], most: int, *, always: bool) -> list[int]:
    """Rows at which (height, width) is cut into even pieces of about `most` rows, its first and its end included.

    Each cut is in the middle of the broadest blank band near its place; where none is blank, in the emptiest one, or,
    unless `always`, nowhere.
    """
    height = len(grey)
    count = -(-height // most)
    if count < 2:
        return [0, height]
    busy = edges(grey)
    noise = NOISE * float(np.median(busy))
    made = [0]
    for number in range(1, count):
        middle, reach = number * height // count, height // count // 4
        window = busy[middle - reach : middle + reach]
        at, breadth = broadest(window <= window.min() + noise)
        if always or (window.min() <= noise and breadth >= LEAST_GUTTER):
            made.append(middle - reach + at)
    return [*made, height]


def broadest(blank: np.ndarray[Any, Any]) -> tuple[int, int]:
    """The middle of the longest run of true ones, and its length."""
    changes = np.diff(np.concatenate(([0], blank.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    best = int(np.argmax(ends - starts))
    return int(starts[best] + ends[best]) // 2, int(ends[best] - starts[best])
