"""Page ranges as clients write them."""

from __future__ import annotations

import pytest

from pageranges import WrongRanges, chosen, read


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("", [1, 2, 3, 4, 5, 6]),
        (" ", [1, 2, 3, 4, 5, 6]),
        ("2", [2]),
        ("2,4-6", [2, 4, 5, 6]),
        (" 4-6 , 2 ", [2, 4, 5, 6]),
        ("1-3,2-4,3", [1, 2, 3, 4]),
        ("6-6", [6]),
    ],
)
def test_pages_of_a_document_of_six(text: str, pages: list[int]) -> None:
    assert chosen(text, 6) == pages


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "found page 0"),
        ("5-2", "found 5-2"),
        ("a", "found 'a'"),
        ("1,,2", "found ''"),
        ("1-", "found '1-'"),
        ("-1", "found '-1'"),
        ("1-2-3", "found '1-2-3'"),
        ("9999999", "found '9999999'"),
        ("1," * 1001, "found 2002 characters"),
    ],
)
def test_what_is_no_range(text: str, said: str) -> None:
    with pytest.raises(WrongRanges, match=f"pageRanges: {said}"):
        read(text)


def test_a_page_after_the_last() -> None:
    with pytest.raises(WrongRanges, match="found page 7, expected at most 6"):
        chosen("2-7", 6)
