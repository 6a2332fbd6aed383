"""What a page of the answer says of itself: empty, cut short, repeated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import problems
from problems import Noted, Question, is_endless, is_printed, note_pages, problems_of

WORDS = "The quick brown fox jumps over the lazy dog and reads the whole of the page again. "


def completion(text: str | None, finish: str = "stop") -> Any:
    """A chat completion, as far as it is looked at."""
    return SimpleNamespace(
        choices=[SimpleNamespace(finish_reason=finish, message=SimpleNamespace(content=text))]
    )


def page(text: str = "") -> np.ndarray[Any, Any]:
    """A page of A5 at 150 dpi as (height, width, BGR), with print on it."""
    image = Image.new("RGB", (874, 1240), "white")
    ImageDraw.Draw(image).text((200, 300), text, fill="black", font_size=28)
    return np.asarray(image)


def kinds(found: list[problems.Problem]) -> list[tuple[str, str]]:
    return [(problem.kind, problem.severity) for problem in found]


@pytest.mark.parametrize(
    "text",
    [
        "again and " * 60,
        WORDS + "1 2 3 " * 80,
        WORDS + "ha" * 300,
        "<fcel>same cell text<fcel>" * 60,
        "的" * 400,
        WORDS + "line\n" * 100 + "lin",
    ],
)
def test_text_that_repeats_itself_without_end(text: str) -> None:
    assert is_endless(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        WORDS * 3,
        " ".join(f"{number}. chapter {number * number}" for number in range(300)),
        "<ecel><ecel><nl>" * 400,
        "Chapter one " + "." * 600 + " 7",
        "_" * 900,
        "again " * 20,
        "0.00 " * 30,
        WORDS + "again and " * 60 + "at last something else comes, and the answer is at its end.",
    ],
)
def test_text_that_does_not(text: str) -> None:
    assert not is_endless(text)


def test_looking_at_an_answer_takes_no_time() -> None:
    hostile = ("ab" * 99 + "c") * 500 + "x" * 199 + "y"
    for _ in range(200):
        assert not is_endless(hostile)


def test_a_blank_page_without_a_word_is_fine_and_a_printed_one_is_not() -> None:
    assert problems_of(page(), ["", " "], []) == []
    assert kinds(problems_of(page("Invoice 4711"), ["", " \n"], [])) == [("empty", "warning")]
    assert problems_of(page("Invoice 4711"), ["", "Invoice 4711"], []) == []


def test_paper_is_blank_with_noise_shadows_and_whatever_colour() -> None:
    random = np.random.default_rng(7)
    paper = np.clip(random.normal(225, 5, (1240, 874, 3)), 0, 255).astype(np.uint8)
    assert not is_printed(paper)
    assert not is_printed(np.full((1240, 874, 3), 20, np.uint8))
    shadow = paper.copy()
    shadow[:20] = shadow[:, -20:] = 30
    assert not is_printed(shadow)
    assert is_printed(255 - page("white on black"))
    assert not is_printed(np.zeros((1, 1, 3), np.uint8))


def test_questions_say_how_they_were_answered() -> None:
    questions = [Question() for _ in range(3)]
    questions[0].answered(completion(WORDS))
    questions[1].answered(completion(WORDS, "length"))
    questions[2].answered(completion(WORDS + "and " * 200, "length"))
    found = problems_of(page(), ["text"], questions)
    assert kinds(found) == [("cut-short", "warning"), ("repeated", "warning")]
    assert "in 2 of 3 regions" in found[0].message
    assert "in 1 of 3 regions" in found[1].message
    empty = Question()
    empty.answered(completion(None))
    assert problems_of(page(), ["text"], [empty]) == []


class Pipeline:
    """PaddleX's, as far as questions are announced: of page and region, by the bounds of their pixels."""

    def _paddleocr_vl_aggregate_vlm_batches(self, pages: list[list[tuple[int, str]]]) -> tuple[Any, ...]:
        by_pixels: dict[str, dict[str, Any]] = {}
        for number, regions in enumerate(pages):
            for region, pixels in regions:
                batch = by_pixels.setdefault(pixels, {"vlm_block_ids": []})
                batch["vlm_block_ids"].append((number, region))
        return [], False, set(), by_pixels, {}


def test_questions_are_told_by_their_page_over_all_batches() -> None:
    problems.noted.begin()
    pipeline = Pipeline()
    note_pages(pipeline)
    asked = []
    for batch in ([[(0, "a"), (1, "b")], [(0, "a")]], [[], [(0, "b"), (1, "a")]]):
        gathered = pipeline._paddleocr_vl_aggregate_vlm_batches(batch)
        for of_pixels in gathered[3].values():
            asked += [problems.noted.ask() for _ in of_pixels["vlm_block_ids"]]
    of_page = [[asked.index(question) for question in problems.noted.of_page(number)] for number in range(4)]
    assert of_page == [[0, 2], [1], [], [3, 4]]


def test_threads_note_what_they_ask_themselves() -> None:
    noted = Noted()
    noted.begin()
    noted.pages = [0]
    question = noted.ask()
    assert noted.of_page(0) == [question]
    noted.begin()
    assert noted.of_page(0) == []
