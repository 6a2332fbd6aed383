"""What counts as a silent loss, and what as a wrong refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image, ImageDraw

from answers import Answer
from looks import Look, look_at
from references import Page, Reference
from verdicts import CAUSES, Verdict, verdict


def drawn(*bars: int, size: tuple[int, int] = (200, 300)) -> Look:
    """A page with black bars at these heights."""
    page = Image.new("RGB", size, "white")
    for bar in bars:
        ImageDraw.Draw(page).rectangle((20, bar, size[0] - 20, bar + 20), fill="black")
    return look_at(page)


TEXT, OTHER, WHITE = drawn(40, 90), drawn(200, 250), drawn()
KNOWN = Reference(count=2, pages=(Page(look=TEXT, words=4), Page(look=WHITE)))


@pytest.mark.parametrize(
    ("pages", "losses"),
    [
        ((TEXT, WHITE), ()),
        ((WHITE, WHITE), ("page 1: blank, expected 4 words",)),
        ((OTHER, WHITE), ("page 1: shows something else",)),
        ((replace(TEXT, width=198), WHITE), ()),
        (
            (replace(TEXT, width=100), WHITE),
            ("page 1: found 100 x 300 pixels, expected 200 x 300",),
        ),
        ((TEXT, OTHER), ("page 2: shows something else",)),
    ],
    ids=["same", "blank", "another's", "rounded", "cropped", "something on a blank page"],
)
def test_losses(pages: tuple[Look, ...], losses: tuple[str, ...]) -> None:
    assert verdict(KNOWN, Answer(count=2, pages=pages)) == Verdict(losses=losses)


def test_a_picture_without_words_may_not_turn_blank_either() -> None:
    picture = Reference(count=1, pages=(Page(look=TEXT),))
    assert verdict(picture, Answer(count=1, pages=(WHITE,))).losses == ("page 1: blank, expected a picture",)


def test_words_that_cannot_be_seen_anywhere_are_lost() -> None:
    hidden = Reference(count=1, pages=(Page(look=WHITE, words=3),))
    assert verdict(hidden, Answer(count=1, pages=(WHITE,))).losses == ("page 1: blank, expected 3 words",)


def test_pages_are_counted() -> None:
    answer = Answer(count=1, pages=(TEXT,))
    assert verdict(KNOWN, answer).losses == ("found 1 pages, expected 2",)
    assert not verdict(Reference(problem="PdfiumError: no"), answer).losses


def test_a_page_beyond_the_limit_may_be_drawn_smaller() -> None:
    large = replace(TEXT, width=20_000, height=20_000)
    known = Reference(count=1, pages=(Page(look=large),))
    smaller, cut = replace(large, width=10_000, height=10_000), replace(large, width=10_000, height=9_000)
    assert not verdict(known, Answer(count=1, pages=(smaller,))).losses
    assert verdict(known, Answer(count=1, pages=(cut,))).losses


def test_refusals() -> None:
    refused = Answer(refusal="the PDF needs a password")
    assert verdict(KNOWN, refused) == Verdict(refused="the PDF needs a password", wrongly=True)
    assert not verdict(Reference(problem="PdfiumError: password"), refused).wrongly
    one_cannot = replace(KNOWN, pages=(*KNOWN.pages[:1], "OSError: broken"))
    assert not verdict(one_cannot, refused).wrongly


def test_the_placeholder_of_a_form_is_to_be_refused() -> None:
    placeholder = Reference(count=1, pages=(Page(look=TEXT, words=40),), placeholder=True)
    assert not verdict(placeholder, Answer(refusal="the PDF is an XFA form")).wrongly
    assert verdict(placeholder, Answer(count=1, pages=(TEXT,))).losses


def test_a_page_that_is_refused_is_no_silent_loss() -> None:
    answer = Answer(count=2, pages=("page 1 of the PDF cannot be read", WHITE))
    assert verdict(KNOWN, answer) == Verdict(refused="page 1 of the PDF cannot be read", wrongly=True)


def test_a_page_on_which_nothing_is_seen_may_be_refused() -> None:
    answer = Answer(count=2, pages=(TEXT, "page 2 has text that no font draws"))
    assert not verdict(KNOWN, answer).wrongly


def test_failures_are_told() -> None:
    assert verdict(KNOWN, Answer(failure="KeyError: 'x'")) == Verdict(failure="KeyError: 'x'")


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("the PDF needs a password", "password or encryption"),
        ("the PDF was cut off: it ends within an object", "cut off"),
        ("page 3: found a MediaBox of 0 x 9 points", "a page or its box"),
        ("the TIFF is damaged", "damage"),
        ("nobody knows", "another"),
        ("", ""),
    ],
)
def test_causes(words: str, cause: str) -> None:
    assert Verdict(refused=words).cause == cause
    assert cause in {*CAUSES, "another", ""}
