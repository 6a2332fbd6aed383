"""Documents in a process of their own: a page that cannot be read, or ends its reader, costs only itself."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import numpy as np
import pytest

from documents import MOST_LOST, Document, Reader
from limits import Limits, Refusal
from samples.pictures import BITS, COMPRESSION, PHOTOMETRIC, SIZE, bars, tiff

T = TypeVar("T")
GOOD = {BITS: [8], PHOTOMETRIC: [1]}
BAD = {**GOOD, COMPRESSION: [34712]}


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    yield Reader(Limits(parallel_requests=1, waiting_requests=1, max_pages=9, max_pixels=10_000))
    for process in multiprocessing.active_children():
        process.kill()


def strip() -> bytes:
    return bars().tobytes()


def ask(reader: Reader, data: bytes, what: Callable[[Document], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with reader.opened(data) as document:
            return await what(document)

    return asyncio.run(asked())


def end_reader() -> None:
    """As a page would that crashes it."""
    (process,) = multiprocessing.active_children()
    process.kill()
    process.join()


def test_pages_come_in_order_and_a_bad_one_is_the_reason(reader: Reader) -> None:
    pages = ask(
        reader, tiff((strip(), GOOD), (strip(), BAD), (strip(), GOOD)), lambda document: document.pages(0, 3)
    )
    assert isinstance(pages[1], str)
    assert pages[1].startswith("page 2 of the TIFF is compressed with JPEG 2000: convert it")
    for page in (pages[0], pages[2]):
        assert np.array_equal(page, np.stack([bars()] * 3, axis=-1))


def test_a_document_without_a_page_that_can_be_read_is_refused(reader: Reader) -> None:
    with pytest.raises(Refusal, match="page 1 of the TIFF is compressed with JPEG 2000") as caught:
        ask(reader, tiff((strip(), BAD), (strip(), BAD)), lambda document: document.pages(0, 2))
    assert caught.value.status == 422


def test_a_reader_that_ends_costs_one_page(reader: Reader) -> None:
    async def ending(document: Document) -> list[object]:
        end_reader()
        return [*await document.pages(0, 2)]

    first, second = ask(reader, tiff(*[(strip(), GOOD)] * 2), ending)
    assert str(first).startswith("page 1 cannot be read: its reader ended without an answer")
    assert np.asarray(second).shape == (SIZE[1], SIZE[0], 3)


def test_readers_that_end_without_end_are_not_started_again(reader: Reader) -> None:
    async def ending(document: Document) -> int:
        for times in range(99):
            end_reader()
            try:
                await document.pages(0, 1)
            except Refusal as refused:
                assert "pages end their reader" in refused.reason
                return times
        return 99

    assert ask(reader, tiff((strip(), GOOD)), ending) == MOST_LOST
    assert multiprocessing.active_children() == []


def test_a_document_that_is_closed_starts_no_reader(reader: Reader) -> None:
    async def closing(document: Document) -> None:
        document.close()
        with pytest.raises(Refusal):
            await document.pages(0, 1)

    ask(reader, tiff((strip(), GOOD)), closing)
    assert multiprocessing.active_children() == []
