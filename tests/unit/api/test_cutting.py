"""Where large pages are cut for the layout model, and how the regions of pieces become those of the page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cutting import MOST_PIECES, MOST_REGIONS, Piecewise, bounds, cuts, pieces_of

LINE, GAP = 24, 16  # pixels of a line of print, and to the next one
Array = np.ndarray[Any, Any]


def printed(width: int, height: int, *, columns: int = 1, paper: int = 255, ink: int = 0) -> Array:
    """A page (height, width, BGR) full of lines in columns, with a gap of 60 pixels between columns."""
    page = np.full((height, width, 3), paper, np.uint8)
    each = (width - 60 * (columns + 1)) // columns
    for top in range(40, height - 60, LINE + GAP):
        for column in range(columns):
            left = 60 + column * (each + 60)
            page[top : top + LINE, left : left + each : 6] = ink
            page[top : top + LINE, left + 1 : left + each : 6] = ink
    return page


def is_line(row: int, height: int) -> bool:
    return 40 <= row < height - 60 and (row - 40) % (LINE + GAP) < LINE


@pytest.mark.parametrize(
    "size", [(1240, 1754), (1754, 1240), (2480, 3508), (1080, 2340), (3024, 4032), (600, 1500), (150, 2000)]
)
def test_pages_of_usual_form_are_not_cut(size: tuple[int, int]) -> None:
    width, height = size
    assert pieces_of(printed(width, height), 0) == [(0, 0, width, height)]


@pytest.mark.parametrize("height", [2000, 5000, 12_345, 60_000])
@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (30, 220)])
def test_a_receipt_is_cut_between_its_lines(height: int, paper: int, ink: int) -> None:
    pieces = pieces_of(printed(600, height, paper=paper, ink=ink), 0)
    assert len(pieces) == min(MOST_PIECES, -(-height // 900))
    assert pieces[0][1] == 0
    assert pieces[-1][3] == height
    for (_, _, _, bottom), (_, top, _, _) in itertools.pairwise(pieces):
        assert bottom == top
        assert not is_line(bottom, height)


def test_a_cut_goes_through_the_broadest_gap_near_its_place() -> None:
    page = printed(600, 1800)
    page[960:1020] = 255
    ((_, _, _, bottom), _) = pieces_of(page, 0)
    assert 960 <= bottom <= 1020


def test_lines_of_a_table_from_top_to_bottom_are_no_print() -> None:
    page = printed(600, 4000)
    page[:, 50] = page[:, 300] = page[:, 550] = 0
    for _, _, _, bottom in pieces_of(page, 0)[:-1]:
        assert not is_line(bottom, 4000)


def test_noise_of_a_scanner_is_no_print() -> None:
    random = np.random.default_rng(7)
    page = printed(600, 4000).astype(int) + random.normal(0, 6, (4000, 600, 3)).astype(int)
    for _, _, _, bottom in pieces_of(np.clip(page, 0, 255).astype(np.uint8), 0)[:-1]:
        assert not is_line(bottom, 4000)


def test_a_page_without_a_gap_is_cut_all_the_same() -> None:
    random = np.random.default_rng(7)
    assert len(pieces_of(random.integers(0, 256, (5000, 600, 3), dtype=np.uint8), 0)) == 6


def test_a_wide_page_is_cut_between_columns_and_never_through_lines() -> None:
    pieces = pieces_of(printed(3000, 600, columns=4), 0)
    assert [top for _, top, _, _ in pieces] == [0] * len(pieces)
    assert 2 <= len(pieces) <= 4
    for _, _, right, _ in pieces[:-1]:
        assert any(abs(right - (60 + column * 735 - 30)) < 30 for column in range(1, 4))
    assert pieces_of(printed(3000, 600), 0) == [(0, 0, 3000, 600)]
    assert pieces_of(printed(3000, 120), 0) == [(0, 0, 3000, 120)]


def test_a_very_large_page_is_cut_both_ways_in_reading_order() -> None:
    page = printed(4768, 6740, columns=4)
    pieces = pieces_of(page, 2000)
    assert pieces == sorted(pieces, key=lambda box: (box[1], box[0]))
    assert sum((right - left) * (bottom - top) for left, top, right, bottom in pieces) == page.size // 3
    assert max(right - left for left, _, right, _ in pieces) <= 3000
    assert max(bottom - top for _, top, _, bottom in pieces) <= 3000
    assert len(pieces) <= 2 * MOST_PIECES


def test_nothing_is_cut_where_it_is_short_enough() -> None:
    assert cuts(printed(100, 100)[..., 1], 100, always=True) == [0, 100]


# --- the layout model ---------------------------------------------------------------------------------------


class Model:
    """Finds one region in each picture that it is shown, of all but ten pixels at its sides."""

    def __init__(self, regions: int = 1) -> None:
        self.shown: list[Array] = []
        self.regions = regions

    def __call__(self, pictures: Sequence[Array], **settings: Any) -> Iterator[dict[str, Any]]:
        assert settings == {"threshold": 0.5}
        for picture in pictures:
            self.shown.append(picture)
            height, width = picture.shape[:2]
            region = {
                "label": "text",
                "score": 0.9,
                "order": 1,
                "coordinate": [10, 10, width - 10, height - 10],
                "polygon_points": np.array([[10, 10], [width - 10, height - 10]], np.float32),
            }
            yield {"input_img": picture, "boxes": [dict(region) for _ in range(self.regions)]}


def test_a_usual_page_goes_to_the_model_as_it_is() -> None:
    model, page = Model(), printed(600, 800)
    (found,) = Piecewise(model)([page], threshold=0.5)
    assert model.shown[0] is page
    assert found["input_img"] is page


def test_regions_of_pieces_become_those_of_the_page() -> None:
    model, pages = Model(), [printed(600, 800), printed(600, 4000), printed(600, 700)]
    first, long, last = Piecewise(model)(pages, threshold=0.5)
    assert (len(first["boxes"]), len(last["boxes"])) == (1, 1)
    pieces = pieces_of(pages[1], 0)
    assert [tuple(region["coordinate"]) for region in long["boxes"]] == [
        (10, top + 10, 590, bottom - 10) for _, top, _, bottom in pieces
    ]
    assert [region["order"] for region in long["boxes"]] == list(range(1, len(pieces) + 1))
    for region in long["boxes"]:
        assert region["polygon_points"].dtype == np.float32
        assert region["polygon_points"].reshape(-1).tolist() == region["coordinate"]
    assert long["input_img"] is pages[1]


def test_the_bounds_of_pages_are_taken_in_their_order() -> None:
    model, pages = Model(), [printed(1200, 1600), printed(1200, 1600)]
    bounds.left = [0, 700]
    whole, cut = Piecewise(model)(pages, threshold=0.5)
    assert (len(whole["boxes"]), len(cut["boxes"])) == (1, 3)
    assert len(next(Piecewise(model)(pages[:1], threshold=0.5))["boxes"]) == 1


def test_more_regions_than_can_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=f"expected at most {MOST_REGIONS}: send it in parts"):
        list(Piecewise(Model(regions=900))([printed(600, 4000)], threshold=0.5))


def test_words_stay_whole() -> None:
    """Real print: no cut touches a pixel of it."""
    image = Image.new("RGB", (500, 6000), "white")
    draw = ImageDraw.Draw(image)
    for number in range(170):
        draw.text(
            (20, 20 + 35 * number),
            f"{number} Product with a long name {number * 1.19:.2f}",
            "black",
            font_size=22,
        )
    page = np.asarray(image)
    pieces = pieces_of(page, 0)
    assert len(pieces) == 8
    for _, _, _, bottom in pieces[:-1]:
        assert page[bottom - 1 : bottom + 1].min() == 255
