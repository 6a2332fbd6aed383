"""JSON that is read while it arrives, in pieces of any size."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.jsonvalues import MalformedError
from paddock.parse.jsonstream import LONGEST_NAME, MOST_LEVELS, Budget, JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def stream(text: bytes, piece: int = 1) -> JsonStream:
    """A stream that gets `piece` bytes at a time."""
    pieces = iter([text[at : at + piece] for at in range(0, len(text), piece)])
    return JsonStream(lambda _size: next(pieces, b""))


def budget() -> Budget:
    return Budget(size=1 << 20, values=1000)


def decoded(text: bytes, piece: int) -> bytes:
    found = bytearray()
    stream(text, piece).base64(found.extend)
    return bytes(found)


@settings(max_examples=40)
@given(value=VALUES, other=VALUES, piece=st.integers(1, 9), ascii_only=st.booleans())
def test_every_value_is_read_and_passed_over_alike(
    value: object, other: object, piece: int, *, ascii_only: bool
) -> None:
    text = json.dumps({"skipped": value, "kept": [other, value]}, ensure_ascii=ascii_only, indent=1)
    reader = stream(text.encode("utf-8", "surrogatepass"), piece)
    found = []
    for name in reader.members(budget()):
        if name == "skipped":
            reader.skip(budget())
        else:
            found += [reader.value(budget()) for _ in reader.elements()]
    assert found == [other, value]


@given(data=st.binary(max_size=40), piece=st.integers(1, 9))
def test_base64_in_pieces(data: bytes, piece: int) -> None:
    assert decoded(b'"' + base64.b64encode(data) + b'"', piece) == data


@pytest.mark.parametrize("text", ["%", "QUI", "QUI=QUI=", "Q===", "QQ==x", "\\u0041", " QUI="])
@pytest.mark.parametrize("piece", [1, 100])
def test_what_is_not_base64(text: str, piece: int) -> None:
    with pytest.raises(MalformedError):
        decoded(f'"{text}"'.encode(), piece)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("{}", "dict"), ("[]", "list"), ('""', "str"), ("null", "NoneType"), ("true", "bool"), ("-1.5", "int")],
)
def test_kinds(text: str, kind: str) -> None:
    assert stream(f" \n{text} ".encode()).kind() == kind


def all_of(reader: JsonStream) -> object:
    return reader.value(budget())


def members(reader: JsonStream) -> object:
    return [reader.value(budget()) for _ in reader.members(budget())]


def elements(reader: JsonStream) -> object:
    return [reader.value(budget()) for _ in reader.elements()]


@pytest.mark.parametrize(
    ("read", "text", "complaint"),
    [
        (all_of, "", "too early"),
        (all_of, "[1", "too early"),
        (all_of, '"abc', "too early"),
        (all_of, '"abc\\', "too early"),
        (all_of, "[1 2]", "not JSON"),
        (all_of, "[}", "not JSON"),
        (all_of, "<html>", "not JSON"),
        (all_of, "[" * (MOST_LEVELS + 1), "inside each other"),
        (all_of, "[" + "1" * 5000 + "]", "not JSON"),
        (all_of, "[" + "0," * 1001 + "0]", "more text and values"),
        (all_of, '"' + "x" * (1 << 20) + '"', "more text and values"),
        (members, "[]", "found list, expected dict"),
        (members, '{"a" 1}', "a name without a value"),
        (members, "{1: 1}", "a member without a name"),
        (members, '{"a": 1 "b": 2}', "without a comma"),
        (members, '{"' + "x" * LONGEST_NAME + '": 1}', "more text and values"),
        (members, "{" + ",".join(['"": 0'] * 1001) + "}", "more text and values"),
        (elements, "{}", "found dict, expected list"),
        (elements, "[1}", "without a comma"),
    ],
)
def test_what_is_wrong_is_said(read: Callable[[JsonStream], object], text: str, complaint: str) -> None:
    with pytest.raises(MalformedError, match=complaint):
        read(stream(text.encode(), 1000))


def test_text_that_is_passed_over_may_be_long_but_not_values() -> None:
    stream(b'"' + b"x" * (2 << 20) + b'" ', 1000).skip(budget())
    with pytest.raises(MalformedError, match="more text and values"):
        stream(b"[" + b"0," * 1001 + b"0] ", 1000).skip(budget())
