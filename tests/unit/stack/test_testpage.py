"""The page that a start sends through the stack."""

from __future__ import annotations

import io

from PIL import Image

from paddock.stack import testpage


def test_the_page_is_a_picture_with_something_on_it() -> None:
    picture = Image.open(io.BytesIO(testpage.png()))
    picture.load()
    assert (picture.format, picture.size, picture.mode) == ("PNG", (640, 480), "L")
    assert picture.getextrema() == (0x20, 0xFF)
    assert testpage.png() == testpage.png()
