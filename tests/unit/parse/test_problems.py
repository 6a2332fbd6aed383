"""What is wrong with pages: as an API says it, and as it shows where the API says nothing."""

from __future__ import annotations

import random
import string

import pytest

from paddock.jsonvalues import MalformedError
from paddock.parse.problems import Problem, Severity, failed_pages, judged, read, repeats_itself

WORDS = "".join(random.Random(1).choices(string.ascii_lowercase + " ", k=4000))


@pytest.mark.parametrize(
    "text",
    [
        "the same words " * 100,
        "ab" * 600,
        "\u7684" * 1000,  # a script without spaces
        WORDS + "N/A " * 300 + WORDS,
        WORDS + ("".join(random.Random(2).choices("abcdef", k=200)) * 11),
    ],
)
def test_text_without_end(text: str) -> None:
    assert repeats_itself(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        WORDS * 3,
        "." * 5000,  # between an entry and its page
        "_ " * 3000,
        "0 " * 3000,  # a column
        "Yes " * 200,
        "x" * 999,
        "a paragraph that stands here a few times. " * 9,
        "ab" * 490 + "c",
    ],
)
def test_text_that_has_an_end(text: str) -> None:
    assert not repeats_itself(text)


def test_every_unit_at_every_place_is_found() -> None:
    r = random.Random(3)
    for length in range(1, 201):
        unit = "".join(r.choices("ab", k=length - 1)) + "c"
        around = "".join(r.choices("xyz", k=r.randrange(1000)))
        assert repeats_itself(around + unit * max(1100 // length + 1, 11) + around), length


@pytest.mark.parametrize(
    ("text", "images", "kinds"),
    [
        ("# A page", False, []),
        ("", False, ["empty"]),
        ("<div>&nbsp;</div>\n\n---\n", False, ["empty"]),
        ('<img src="a.jpg">', True, []),  # a photograph
        ("<td>so so</td>" * 200, False, ["repeated"]),
        ("<td></td>" * 2000 + "end", False, []),
    ],
)
def test_what_a_page_shows(text: str, images: bool, kinds: list[str]) -> None:
    found = list(judged(text, images=images, page=7))
    assert [problem.kind for problem in found] == kinds
    assert {(problem.page, problem.severity) for problem in found} <= {(7, Severity.WARNING)}


def test_what_is_told_and_recorded_comes_back() -> None:
    told = [{"kind": "cut-short", "severity": "warning", "message": "it  stopped\nat its limit"}]
    (problem,) = read(told, 3)
    assert str(problem) == "page 3: it stopped at its limit"
    assert problem.told() == told[0] | {"message": "it stopped at its limit"}
    assert read([problem.recorded()]) == (problem,)
    whole = Problem(page=None, kind="surplus", severity=Severity.WARNING, message="too many")
    assert str(whole) == "too many"
    assert read([whole.recorded()]) == (whole,)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({}, "problems: found dict, expected list"),
        (["x"], "an entry of problems: found str, expected dict"),
        (
            [{"kind": "x", "severity": "bad", "message": ""}],
            "severity: found 'bad', expected failed or warning",
        ),
        ([{"severity": "failed", "message": ""}], "kind: found NoneType, expected str"),
        ([{"kind": "x", "severity": "failed", "message": ""}] * 21, "page 1: found 21, expected 20"),
    ],
)
def test_what_is_not_told_as_it_must_be(value: object, complaint: str) -> None:
    with pytest.raises(MalformedError, match=complaint):
        read(value, 1)


def test_a_page_that_failed_twice_is_one() -> None:
    problems = read(
        [{"kind": "x", "severity": kind, "message": ""} for kind in ("failed", "failed", "warning")], 1
    )
    assert failed_pages(problems) == 1
