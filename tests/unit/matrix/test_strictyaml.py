"""The strict reader: what it takes, what it refuses, and in which words.

Each folder of tests/cases/strictyaml holds `input.yaml` (and files that it extends), and either
`expected.txt`, the refusal and its hint, or `expected.json`, the record.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paddock.errors import DataError
from paddock.matrix import strictyaml
from paddock.matrix.fieldtypes import FrozenDict, Pattern
from paddock.matrix.yamltree import Place
from repository import REPOSITORY

CASES = REPOSITORY / "tests/cases/strictyaml"


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    pin: Annotated[str, Pattern(r"[0-9.]+", 'a version such as "1.2"')]
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One field of every kind that the reader supports."""

    name: str
    title: str
    count: int = 0
    ratio: float = 0.0
    active: bool = False
    colour: Colour = Colour.RED
    mode: Literal["fast", "safe"] = "safe"
    tags: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    pins: Mapping[str, str] = field(default_factory=FrozenDict)
    options: Mapping[str, str | int | float | bool] = field(default_factory=FrozenDict)
    by_colour: Mapping[Colour, Mapping[str, str]] = field(default_factory=FrozenDict)
    part: Part | None = None
    limit: float | None = 0.5


def read(path: Path) -> Thing:
    return strictyaml.read(path, Thing, given={"name": path.stem}).record


def write(folder: Path, text: str, name: str = "input") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(failure: DataError, root: Path) -> str:
    """The refusal as the case files hold it: paths below `root`, the hint on a line of its own."""
    text = str(failure).replace(f"{root}/", "")
    return f"{text}\nhint: {failure.hint}\n" if failure.hint else f"{text}\n"


def test_there_are_cases() -> None:
    assert len(list(CASES.iterdir())) > 40


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_case(case: Path) -> None:
    expected = case / "expected.txt"
    if not expected.exists():
        found = json.dumps(dataclasses.asdict(read(case / "input.yaml")), indent=2) + "\n"
        assert found == (case / "expected.json").read_text(encoding="utf-8")
        return
    with pytest.raises(DataError) as caught:
        read(case / "input.yaml")
    assert refusal(caught.value, case) == expected.read_text(encoding="utf-8")


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "title: " + "[" * 2000 + "]" * 2000)
    with pytest.raises(DataError, match="nested too deeply"):
        read(path)


def test_maps_keep_the_order_of_the_file_and_do_not_change(tmp_path: Path) -> None:
    pins = read(write(tmp_path, "title: x\npins: {zebra: '1', apple: '2', mango: '3'}\n")).pins
    assert list(pins) == ["zebra", "apple", "mango"]
    with pytest.raises(TypeError, match="do not change"):
        pins["new"] = "4"  # type: ignore[index]
    with pytest.raises(TypeError, match="do not change"):
        pins |= {"new": "4"}  # type: ignore[operator]


def test_records_can_be_hashed_and_compared(tmp_path: Path) -> None:
    path = write(tmp_path, "title: x\npins: {a: '1'}\nparts: [{pin: '1.2'}]\n")
    assert read(path) == read(path)
    assert len({read(path), read(path)}) == 1


def test_a_place_points_into_the_file_that_holds_the_value(tmp_path: Path) -> None:
    parent = write(tmp_path, "title: parent\nparts:\n  - pin: '1'\npart:\n  pin: '2'\n", "_parent")
    child = write(tmp_path, "extends: _parent\npart:\n  weight: 2\n", "child")
    loaded = strictyaml.read(child, Thing, given={"name": "child"})
    assert loaded.parents == ("_parent",)
    assert loaded.place("part", "weight") == Place(path=child, line=3, column=11)
    assert loaded.place("part", "pin") == Place(path=parent, line=5, column=8)
    assert loaded.place("parts", 0, "pin") == Place(path=parent, line=3, column=10)
    assert loaded.place("part", "absent") == Place(path=child, line=3, column=3)


def test_grandparents_are_merged_nearest_last(tmp_path: Path) -> None:
    write(tmp_path, "title: a\npins: {a: '1', b: '1', c: '1'}\ntags: [a]\n", "_a")
    write(tmp_path, "extends: _a\npins: {b: '2', c: '2'}\ntags: [b]\n", "_b")
    thing = read(write(tmp_path, "extends: _b\npins: {c: '3', d: '3'}\n"))
    assert thing.pins == {"a": "1", "b": "2", "c": "3", "d": "3"}
    assert thing.tags == ("b",)


# --- unions of records --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Circle:
    shape: Literal["circle"]
    radius: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    shape: Literal["square"]
    side: int
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    figure: Circle | Square | None
    further: tuple[Circle | Square, ...] = ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("figure: null", Drawing(figure=None)),
        ("figure: {shape: circle, radius: 2}", Drawing(figure=Circle(shape="circle", radius=2.0))),
        ("figure: {side: 2, shape: square}", Drawing(figure=Square(shape="square", side=2))),
        (
            "figure: null\nfurther: [{shape: square, side: 1}, {shape: circle, radius: 0.5}]",
            Drawing(
                figure=None, further=(Square(shape="square", side=1), Circle(shape="circle", radius=0.5))
            ),
        ),
    ],
)
def test_a_tag_says_which_record_is_meant(tmp_path: Path, text: str, expected: Drawing) -> None:
    assert strictyaml.read(write(tmp_path, text), Drawing).record == expected


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("further: []", '1:1: found no "figure", expected it here', "figure: a map or null"),
        ("figure: circle", '1:9: figure: found the string "circle", expected a map or null', ""),
        (
            "figure: {side: 2}",
            '1:9: figure: found no "shape", expected it here',
            "shape: one of circle, square",
        ),
        (
            "figure: {shape: cirle, radius: 2}",
            '1:17: figure.shape: found "cirle", expected one of circle, square',
            'did you mean "circle"?',
        ),
        (
            "figure: {shape: 1}",
            "1:17: figure.shape: found the number 1, expected one of circle, square",
            "",
        ),
        (
            "figure: {shape: circle, side: 2}",
            '1:25: figure: found the unknown key "side", expected one of shape, radius',
            "",
        ),
        (
            "figure: null\nfurther: [{shape: square}]",
            '2:11: further[0]: found no "side", expected it here',
            "side: a whole number",
        ),
    ],
)
def test_a_union_of_records_refuses(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        strictyaml.read(path, Drawing)
    assert str(caught.value) == f"{path}:{message}"
    assert caught.value.hint == hint


def test_a_union_of_records_without_a_tag_is_our_mistake(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Untagged:
        part: Part | Thing

    path = write(tmp_path, "part: {pin: '1'}")
    with pytest.raises(TypeError, match="no field is a Literal in all of Part, Thing"):
        strictyaml.read(path, Untagged)


# --- any input ----------------------------------------------------------------------------------------------

# The folder is shared by the examples of one test on purpose.
LENIENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
# Anything that a person may put in quotes, and any number that YAML and Python write alike. JSON escapes what
# lies above U+FFFF as two surrogates, which YAML does not read.
TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cc", "Cs"]), max_size=60)
NUMBERS = st.one_of(
    st.booleans(), st.integers(-(10**17), 10**17), st.floats(allow_nan=False, allow_infinity=False, width=32)
)


@LENIENT
@given(options=st.dictionaries(TEXTS, st.one_of(TEXTS, NUMBERS), max_size=6))
def test_scalars_come_back_as_they_were_written(
    tmp_path: Path, options: dict[str, str | int | float | bool]
) -> None:
    text = json.dumps({"title": "x", "options": options}, ensure_ascii=True)
    found = read(write(tmp_path, text)).options
    assert found == options
    assert [type(value) for value in found.values()] == [type(value) for value in options.values()]


@LENIENT
@given(word=st.text(st.sampled_from("0123456789.:eExXob_+-~noyestrualfTNY"), min_size=1, max_size=8))
def test_a_bare_word_is_a_string_only_if_yaml_says_so_too(tmp_path: Path, word: str) -> None:
    try:
        title = read(write(tmp_path, f"title: {word}\n")).title
    except DataError:
        return
    assert title == word
    assert yaml.safe_load(f"title: {word}\n") == {"title": word}


@LENIENT
@given(raw=st.binary(max_size=80))
def test_no_bytes_break_the_reader(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "input.yaml"
    path.write_bytes(b"title: x\n" + raw)
    try:
        read(path)
    except DataError as failure:
        assert failure.line >= 1 and failure.column >= 1
