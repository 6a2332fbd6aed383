"""Comparing answers with documents: the measures, on answers in the forms that the model writes."""

from __future__ import annotations

import pytest

from paddock.smoke import reading

TABLE = [["Item", "Price"], ["Hay", "54.00"]]


@pytest.mark.parametrize(
    ("found", "expected", "share"),
    [
        ("abcd", "abcd", 0),
        ("abxd", "abcd", 0.25),
        ("abc", "abcd", 0.25),
        ("abcde", "abcd", 0.25),
        ("", "abcd", 1),
        ("xxxxxxxxxxxxxxxx", "abcd", 1),  # never more than everything
        ("a  b\nc d", "abcd", 0),
        ("ａｂｃｄ", "abcd", 0),  # full-width letters are the same letters
    ],
)
def test_characters(found: str, expected: str, share: float) -> None:
    assert reading.characters(found, expected, limit=0).share == pytest.approx(share)


def test_a_share_at_its_limit_passes() -> None:
    assert reading.characters("abxd", "abcd", limit=0.25).ok
    assert not reading.characters("abxy", "abcd", limit=0.25).ok


def test_a_measure_says_what_is_wrong() -> None:
    assert str(reading.characters("abxd", "abcd", limit=0.05)) == "25% of the characters wrong, at most 5%"


@pytest.mark.parametrize(
    "found",
    [
        r"\[ E = m c ^ {2} + \frac {p ^ {2}} {2 m} \]",
        r"$$E=mc^2+\frac{p^2}{2m}$$",
        r"E = mc^{2} + \frac{p^{2}}{2m} \tag{1}",
    ],
)
def test_latex_written_otherwise_is_the_same_formula(found: str) -> None:
    assert reading.latex(found, r"E = mc^{2} + \frac{p^{2}}{2m}", limit=0).ok


def test_another_formula_is_another_one() -> None:
    assert not reading.latex(r"a^2 + b^2 = c^2", r"E = mc^{2} + \frac{p^{2}}{2m}", limit=0.25).ok


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("<fcel>Item<fcel>Price<nl><fcel>Hay<fcel>54.00<nl>", 0),
        ("Item | Price\nHay | 54.00", 0),
        ("| Item | Price |\n|---|---|\n| Hay | 54.00 |", 0),
        ("<fcel>Item<fcel>Price<nl><fcel>Hay<ecel><nl>", 0.25),
        ("<fcel>Item<fcel>Price<nl><fcel>54.00<fcel>Hay<nl>", 0.5),  # in the wrong place
        ("Item Price Hay 54.00", 1),
        ("", 1),
    ],
)
def test_table_cells(answer: str, share: float) -> None:
    assert reading.table_cells(answer, TABLE, limit=0).share == pytest.approx(share)


def test_chart_cells_count_wherever_they_stand() -> None:
    expected = [["North", "20"], ["East", "35"]]
    assert reading.chart_cells("Region | Bales\nEast | 35.0\nNorth | 20", expected, limit=0).ok
    assert reading.chart_cells(" | North | East\nBales | 20 | 35", expected, limit=0).ok
    assert reading.chart_cells("Region | Bales\nEast | 20\nNorth | 20", expected, limit=0).share == 0.25


def test_spotted_text_needs_its_corners() -> None:
    corners = "".join(f"<|LOC_{n}|>" for n in range(8))
    assert reading.spotted(
        f"14 Orchard Lane{corners}\nTotal{corners}</s>", "14 Orchard Lane\nTotal", limit=0
    ).ok
    measure = reading.spotted("14 Orchard Lane\nTotal", "14 Orchard Lane\nTotal", limit=0.1)
    assert (measure.what, measure.share) == ("corners", 1.0)


def test_words_of_a_page_with_a_table_in_html() -> None:
    page = "# Note\n\n<table><tr><td>Hay &amp; oats</td><td>54.00</td></tr></table>"
    assert reading.words(page, ["Note", "Hay & oats", "54.00"], limit=0).ok
    assert reading.words(page, ["Note", "Straw"], limit=0).share == 0.5
