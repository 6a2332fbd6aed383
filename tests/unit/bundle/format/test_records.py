"""Records: what JSON must be like to be read, and that nothing is converted or filled in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import pytest

from paddock.bundle.format.records import (
    Bounds,
    Size,
    canonical_json,
    parse_json,
    read_record,
    read_records,
)
from paddock.errors import BundleError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    size: Size


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    name: str
    done: bool
    number: int
    colour: Colour
    level: Annotated[int, Bounds(least=1, greatest=9)]
    inner: Inner
    several: tuple[Inner, ...]
    perhaps: Size | None = None


GOOD = Outer(
    name="größe",
    done=True,
    number=-5,
    colour=Colour.BLUE,
    level=9,
    inner=Inner(size=0),
    several=(Inner(size=1), Inner(size=(1 << 63) - 1)),
)
VALUES = {
    "name": "größe",
    "done": True,
    "number": -5,
    "colour": "blue",
    "level": 9,
    "inner": {"size": 0},
    "several": [{"size": 1}, {"size": (1 << 63) - 1}],
    "perhaps": None,
}


def test_what_is_written_is_read_back() -> None:
    data = canonical_json(GOOD)
    assert data.startswith(b'{"colour":"blue","done":true,"inner":{"size":0},')
    assert data.endswith(b"}\n")
    assert "größe".encode() in data
    assert read_record(parse_json(data, where="f"), Outer, where="f") == GOOD


def test_a_list_of_records() -> None:
    assert read_records([{"size": 1}, {"size": 2}], Inner, where="f") == (Inner(size=1), Inner(size=2))
    with pytest.raises(BundleError, match=r"^f: found an object, expected a list$"):
        read_records({}, Inner, where="f")
    with pytest.raises(BundleError, match=r"^f\[1\]: size: found null, expected an integer$"):
        read_records([{"size": 1}, {"size": None}], Inner, where="f")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": 1}, "f: the keys 'more' are missing or unknown"),
        ({"name": 3}, "f: name: found an integer, expected a string"),
        ({"name": "\ud800"}, r"f: name: found '\ud800', expected text that can be written as UTF-8"),
        ({"done": 1}, "f: done: found an integer, expected true or false"),
        ({"number": True}, "f: number: found true or false, expected an integer"),
        ({"number": 1.0}, "f: number: found a fraction, expected an integer"),
        ({"number": "1"}, "f: number: found a string, expected an integer"),
        ({"colour": "green"}, "f: colour: found 'green', expected one of red, blue"),
        ({"colour": ["red"]}, "f: colour: found ['red'], expected one of red, blue"),
        ({"level": 0}, "f: level: found 0, expected at least 1"),
        ({"level": 10}, "f: level: found more than 9, expected at most that"),
        ({"level": True}, "f: level: found true or false, expected an integer"),
        ({"inner": []}, "f: inner: found a list, expected an object"),
        ({"inner": {"size": -1}}, "f: inner: size: found -1, expected at least 0"),
        ({"several": {}}, "f: several: found an object, expected a list"),
        ({"several": [{"size": 1}, {}]}, "f: several[1]: the keys 'size' are missing or unknown"),
        ({"perhaps": -1}, "f: perhaps: found -1, expected at least 0"),
        ({"perhaps": "x"}, "f: perhaps: found a string, expected an integer"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError) as caught:
        read_record({**VALUES, **changes}, Outer, where="f", hint="do this")
    assert (caught.value.message, caught.value.hint) == (message, "do this")


@pytest.mark.parametrize("missing", VALUES)
def test_every_key_must_be_there(missing: str) -> None:
    values = {name: value for name, value in VALUES.items() if name != missing}
    with pytest.raises(BundleError, match=f"the keys '{missing}' are missing or unknown"):
        read_record(values, Outer, where="f")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b'{"a":1,"a":1}'])
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^f: is not JSON: ") as caught:
        parse_json(data, where="f", hint="do this")
    assert caught.value.hint == "do this"
