"""Values of JSON that another program wrote."""

from __future__ import annotations

import pytest

from paddock.jsonvalues import MalformedError, decoded, field, optional, typed


def test_a_value_of_the_type_that_is_due_is_returned() -> None:
    assert typed(1, int, "the count") == 1
    assert field({"name": "a"}, "name", str) == "a"
    assert optional({"name": "a"}, "name", str) == "a"
    assert optional({"name": None}, "name", str) is None
    assert optional({}, "name", str) is None


def test_another_type_is_named() -> None:
    with pytest.raises(MalformedError, match="the count: found str, expected int"):
        typed("1", int, "the count")
    with pytest.raises(MalformedError, match="name: found NoneType, expected str"):
        field({}, "name", str)
    with pytest.raises(MalformedError, match="name: found list, expected str"):
        optional({"name": []}, "name", str)


def test_true_is_no_integer_and_no_integer_is_true() -> None:
    with pytest.raises(MalformedError, match="found bool, expected int"):
        typed(True, int, "the count")
    with pytest.raises(MalformedError, match="found int, expected bool"):
        typed(1, bool, "the switch")
    assert typed(False, bool, "the switch") is False


@pytest.mark.parametrize("text", ["", "<html>", "[" * 200_000, '{"a":' * 200_000, "1" * 5000, b"\xff"])
def test_what_is_no_json_or_too_much_of_it(text: str | bytes) -> None:
    with pytest.raises(MalformedError):
        decoded(text)
    assert decoded(b'{"a": [1]}') == {"a": [1]}
