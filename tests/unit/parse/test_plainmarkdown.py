"""Markdown without HTML: what it keeps, and that nothing in it can run."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.parse.plainmarkdown import plain

IMAGE = "imgs/img_in_image_box_1_2_3_4.jpg"


def of(markdown: str) -> str:
    return plain(markdown, images=[IMAGE])


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("# Title\n\nText & more, 5 < 6 > 4 and 你好.\n", "# Title\n\nText & more, 5 < 6 > 4 and 你好.\n"),
        ('<div style="text-align: center;">Figure 1</div>', "Figure 1"),
        (f'<div><img src="{IMAGE}" alt="Image" width="30%" /></div>', f"![Image]({IMAGE})"),
        ("CO<sub>2</sub> and 10<sup>3</sup>", "CO2 and 103"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        # what a page shows is kept, whatever it looks like
        ("$a<b and c>d$", "$a&lt;b and c>d$"),
        ("x <y> z </y>", "x &lt;y> z &lt;/y>"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("<!-- note -->", "&lt;!-- note -->"),
        # what could lead elsewhere does not
        ('<img src="http://x/y.png" alt="Logo" onerror="alert(1)">', "Logo"),
        ('<img src="javascript:alert(1)">', ""),
        ("![a](http://x/y.png)", "\\![a](http://x/y.png)"),
        (f"![a]({IMAGE})", f"![a]({IMAGE})"),
        ("[a](javascript:alert(1))", "[a](#))"),
        ("[a]( <JavaScript:alert>)", "[a]( &lt;JavaScript:alert>)"),
        ("[a](< JavaScript:alert>)", "[a](< #>)"),
        ("[a](java&#115;cript:x)", "[a](#)"),
        ("[a](java&Tab;script:x)", "[a](#)"),
        ("[a](javascript\\:x)", "[a](#)"),
        ("[a](\ndata:text/html,x)", "[a](\n#)"),
        ("[a]: vbscript:x", "[a]: #"),
        ("[a](https://example.org/x) [b](pages/1.md) [c](mailto:x@y)",) * 2,
    ],
)
def test_what_becomes_of_it(markdown: str, expected: str) -> None:
    assert of(markdown) == expected


def test_a_table() -> None:
    table = (
        '<table border="1"><caption>Sales</caption><tr><th>Name</th><th colspan="2">a | b</th></tr>'
        '<tr><td rowspan="2">x<br>y</td><td>1</td><td>2</td></tr><tr><td>3</td></tr><tr></tr></table>'
    )
    assert of(f"before{table}after") == (
        "before\n\nSales\n\n| Name | a \\| b |  |\n| --- | --- | --- |\n| x y | 1 | 2 |\n|  | 3 |\n\nafter"
    )


@pytest.mark.parametrize(
    "markdown",
    [
        '<table><tr><td colspan="99999" rowspan="99999">x</td></tr><tr><td>y</td></tr></table>',
        '<table><tr><td colspan="0" rowspan="-1">x<table><tr><td>y',
        "<table>" + '<tr><td colspan="500">x</td></tr>' * 2000,
        "</table></tr><td>x",
    ],
)
def test_tables_that_are_not_right_or_huge(markdown: str) -> None:
    found = of(markdown)
    assert "x" in found
    assert len(found) < 2_000_000


ATTACKS = [
    "<",
    "<!--",
    "</",
    "<a ",
    "<a b=",
    '<a b="',
    "[",
    "](",
    "![",
    "](<",
    "&",
    "<td>",
    "<img src=",
    "\n[x]:",
]


@given(st.lists(st.sampled_from([*ATTACKS, ">", "/>", '"', "javascript:", "x", " ", ")", "script"])))
def test_no_tag_is_left_whatever_comes(pieces: list[str]) -> None:
    assert not re.search(r"<[a-zA-Z/!?]", of("".join(pieces)))


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_takes_time_in_proportion(attack: str) -> None:
    began = time.process_time()
    of(attack * (500_000 // len(attack)))
    assert time.process_time() - began < 10  # a second here; what grows with the square takes hours
