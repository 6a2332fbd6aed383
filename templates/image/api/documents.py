"""The pages of a document, read by a process of its own that ends with it (decoder.py)."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any

import arrays
import decoder
from limits import Limits, Refusal
from reading import Size

OPEN_WITHIN = 60.0  # seconds
PAGE_WITHIN = 60.0  # seconds for one page
MOST_LOST = 3  # pages of a document that may end their reader
STRANGER = (
    "cannot be read: its reader ended without an answer. The file is damaged, or made to break readers: open it in a "
    "viewer, print it to PDF and send that"
)


class Lost(Exception):  # noqa: N818 - it is an answer
    """A reader that has ended, or does not answer; the words say of what."""


class Document:
    """What is open: its kind, the sizes of its pages and the bounds of their pieces (reading.py), and their pixels."""

    def __init__(
        self, process: Callable[[], AbstractContextManager[Connection]], data: bytes, threads: ThreadPoolExecutor
    ) -> None:
        self.kind = ""
        self.sizes: list[Size] = []
        self.bounds: list[int] = []
        self._process = process
        self._data = data  # for another reader, where a page ends one
        self._threads = threads
        self._running = contextlib.ExitStack()
        self._lost = 0
        self._over = False
        self._state = threading.Lock()  # of the three before
        self._one_at_a_time = asyncio.Lock()

    async def pages(self, first: int, last: int) -> list[arrays.Array | str]:
        """Pages first to last - 1, each (height, width, BGR) of uint8, or the reason why it cannot be read."""
        async with self._one_at_a_time:
            pages: list[arrays.Array | str] = await _in(self._threads, self._pages, first, last)
            return pages

    def open(self) -> None:
        """Start a reader, and have it look at the document."""
        with self._state:
            if self._over:
                raise Refusal(499, "the document was closed")
            self._pipe = self._running.enter_context(self._process())
        try:
            with _told("the document"):
                self._pipe.send_bytes(self._data)
                answer = _answer(self._pipe, OPEN_WITHIN, "the document")
        except Lost as lost:
            raise Refusal(422, str(lost)) from lost
        if isinstance(answer, str):
            raise Refusal(422, answer)
        self.kind, self.sizes, self.bounds = answer

    def close(self) -> None:
        """End the reader; no other is started."""
        with self._state:
            self._over = True
            self._running.close()

    def _pages(self, first: int, last: int) -> list[arrays.Array | str]:
        return [self._page(number) for number in range(first, last)]

    def _page(self, number: int) -> arrays.Array | str:
        what = f"page {number + 1}"
        try:
            with _told(what):
                self._pipe.send(number)
                answer = _answer(self._pipe, PAGE_WITHIN, what)
                return answer if isinstance(answer, str) else arrays.receive(self._pipe, answer)[0]
        except Lost as lost:
            self._lost += 1
            if self._lost > MOST_LOST:
                raise Refusal(422, f"more than {MOST_LOST} pages end their reader, the last one was {lost}") from lost
            with self._state:
                self._running.close()
            self.open()
            return str(lost)


class Reader:
    """Opens documents; made before any other thread is, since its processes are copies of one that has none."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["decoder"])
        self._threads = ThreadPoolExecutor(limits.open_requests, "document")
        with self._process() as first:  # starts the server of processes now
            first.close()

    @contextlib.contextmanager
    def _process(self) -> Any:
        ours, theirs = self._processes.Pipe()
        arguments = (theirs, self._limits.max_pages, self._limits.max_pixels)
        process = self._processes.Process(target=decoder.serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        try:
            yield ours
        finally:
            ours.close()
            process.kill()
            process.join()
            process.close()

    @contextlib.asynccontextmanager
    async def opened(self, data: bytes) -> AsyncIterator[Document]:
        """The document in `data`; raises Refusal for what cannot be read or is larger than allowed."""
        document = Document(self._process, data, self._threads)
        del data
        try:
            await _in(self._threads, document.open)
            yield document
        finally:
            await _in(self._threads, document.close)


def _answer(pipe: Connection, within: float, what: str) -> Any:
    if not pipe.poll(within):
        raise Lost(
            f"{what} was not read within {within:.0f} s: open the file in a viewer, print it to PDF and send that"
        )
    return pipe.recv()


@contextlib.contextmanager
def _told(what: str) -> Any:
    """A process that ended is told of as what its document is."""
    try:
        yield
    except (EOFError, OSError) as ended:
        raise Lost(f"{what} {STRANGER}") from ended


async def _in(threads: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
