"""What the judge can be asked about a file, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MADE = "made"  # the name of the file that it makes in the folder of the question
DAMAGED_HINT = (
    "copy it again from where it is whole; or open it in a viewer, print it to a new PDF and parse that"
)


class Task(StrEnum):
    """The questions."""

    PDF = "pdf"  # does it open, and how many pages has it?
    WHOLE = "whole"  # can this PNG, JPEG or TIFF be decoded to its end?
    PICTURE = "picture"  # make a PNG of it
    OFFICE_KIND = "office kind"  # which office document is it? `what` is empty where it is none
    OFFICE = "office"  # make a PDF of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """`pages` are those that will be sent; `what` the file is, and the `notes`, are for people."""

    pages: int = 1
    what: str = ""
    notes: tuple[str, ...] = ()
