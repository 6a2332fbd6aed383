"""What paddock's own readers say of a file: `paddock parse` before it sends it, the image `api` that gets it.

The image's reader is asked as its server asks it: one process for a document, with its limits and times, at
the scale at which pages go to the models.
"""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from documents import Document, Reader
from limits import Refusal
from looks import Look, look_at
from paddock.errors import PaddockError
from paddock.parse import document


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A refusal, or the last line of a traceback, or how many pages there are and the first of them.

    A page is its look, or why it cannot be read.
    """

    refusal: str = ""
    failure: str = ""
    count: int = 0
    pages: tuple[Look | str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What came of a file that `paddock parse` was given, and whether it would go to the server as it is."""

    answer: Answer
    as_it_is: bool = False


async def by_the_client(reader: Reader, path: Path, most: int) -> Sent:
    """Judge the file, convert it where needed, read what is sent, and look at its first `most` pages."""
    try:
        judged = await asyncio.to_thread(document.inspect, path)
        with judged.open() as file:
            sent = file.read()
    except PaddockError as refused:
        return Sent(answer=Answer(refusal=refused.message.removeprefix(f"{path}: ")))
    except Exception:
        return Sent(answer=Answer(failure=_last_line()))
    answer = await by_the_server(reader, sent, most)
    if answer.count and judged.pages != answer.count:
        answer = Answer(failure=f"paddock parse counts {judged.pages} pages, the server {answer.count}")
    return Sent(answer=answer, as_it_is=judged.converted_from is None)


async def by_the_server(reader: Reader, data: bytes, most: int) -> Answer:
    """What the image `api` makes of these bytes, and of the first `most` pages in them."""
    try:
        async with reader.opened(data) as opened:
            numbers = range(min(len(opened.sizes), most))
            return Answer(
                count=len(opened.sizes), pages=tuple([await _page(opened, number) for number in numbers])
            )
    except Refusal as refused:
        return Answer(refusal=refused.reason)
    except Exception:
        return Answer(failure=_last_line())


async def _page(opened: Document, number: int) -> Look | str:
    try:
        (page,) = await opened.pages(number, number + 1)
    except Refusal as refused:
        return refused.reason
    return page if isinstance(page, str) else look_at(Image.fromarray(page[..., ::-1]))


def _last_line() -> str:
    return traceback.format_exc().strip().rpartition("\n")[2]
