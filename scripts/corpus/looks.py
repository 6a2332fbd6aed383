"""What a page looks like, in few bytes: enough to tell a blank page, another page and one that was cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE = 32  # a page is compared as SIDE x SIDE grey squares
FAINT = 8  # of 255; a picture whose grey values differ less is blank
NEAR = 12.0  # of 255; mean difference of the squares of two drawings of one page, with room
ALIKE = (
    0.9  # correlation of the squares; pictures of 16 bits and more may be scaled in more than one right way
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Width and height in pixels, the difference between the lightest and darkest grey, and the squares."""

    width: int
    height: int
    contrast: int
    squares: bytes

    @property
    def blank(self) -> bool:
        """Whether there is nothing to be seen."""
        return self.contrast < FAINT

    def shows_the_same_as(self, other: Look) -> bool:
        """Whether both are the same page, whatever their sizes."""
        ours = np.frombuffer(self.squares, np.uint8).astype(np.float64)
        theirs = np.frombuffer(other.squares, np.uint8).astype(np.float64)
        if np.abs(ours - theirs).mean() <= NEAR:
            return True
        ours, theirs = ours - ours.mean(), theirs - theirs.mean()
        lengths = np.sqrt((ours**2).sum() * (theirs**2).sum())
        return bool(lengths) and float((ours * theirs).sum() / lengths) >= ALIKE


def look_at(image: Image.Image) -> Look:
    """The look of a picture in RGB or grey."""
    grey = image.convert("L")
    values = np.asarray(grey)
    return Look(
        width=image.width,
        height=image.height,
        contrast=int(values.max()) - int(values.min()),
        squares=grey.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes(),
    )
