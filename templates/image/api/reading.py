"""What all readers of documents share: pages, their sizes, and how one says that it cannot read something."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

Size = tuple[int, int]  # width and height in pixels
NO_SIZE: Size = (1, 1)  # of a page that cannot be read

# The layout model sees a page of any size as 800 x 800 pixels (inference.yml of PP-DocLayoutV3): print of 10 points on
# A3 is 6 pixels high there, on A0 two. A page with a longer side is cut, into pieces of about the second length.
LARGEST_WHOLE, PIECE = 1250.0, 1000.0  # points


class Unreadable(Exception):  # noqa: N818 - it is an answer
    """Why this document, or this page of it, is refused; the words go to the client."""


class Pages(Protocol):
    """A document that was opened."""

    kind: str
    sizes: list[Size]
    bounds: list[int]  # of each page: the longest side of a piece in pixels; 0 where its printed size asks for no cut
    refused: dict[int, Unreadable]  # pages, from 0, that cannot be read

    def page(self, number: int) -> np.ndarray[Any, Any]:
        """Page `number` (from 0) as (height, width, BGR) of uint8; raises Unreadable."""


def too_many(count: int, most: int) -> Unreadable:
    """The refusal of a document with more pages than allowed."""
    return Unreadable(f"found {count} pages, expected at most {most} (API_MAX_PAGES): send it in parts")


def bound_of(size: Size, dots_per_point: float) -> int:
    """The entry of `Pages.bounds` for a page of `size` pixels."""
    return round(PIECE * dots_per_point) if max(size) > LARGEST_WHOLE * dots_per_point else 0
