"""The pages of a document, read by a process of its own that ends with it (decoder.py)."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import arrays
import decoder
from limits import Limits, Refusal

OPEN_WITHIN = 60.0  # seconds
PAGE_WITHIN = 60.0  # seconds for one page
STRANGER = "cannot be read: its reader ended without an answer. The file is damaged, or made to break readers"


class Document:
    """What is open: its kind, the sizes of its pages, and their pixels on demand."""

    def __init__(self, pipe: Connection, kind: str, sizes: list[decoder.Size], threads: ThreadPoolExecutor) -> None:
        self.kind = kind
        self.sizes = sizes
        self._pipe = pipe
        self._threads = threads
        self._one_at_a_time = asyncio.Lock()

    async def pages(self, first: int, last: int) -> list[arrays.Array]:
        """Pages first to last - 1, each (height, width, BGR) of uint8."""
        async with self._one_at_a_time:
            return await _in(self._threads, self._ask, first, last)

    def _ask(self, first: int, last: int) -> list[arrays.Array]:
        with _told():
            self._pipe.send((first, last))
            return [self._receive(number) for number in range(first, last)]

    def _receive(self, number: int) -> arrays.Array:
        (pixels,) = arrays.receive(self._pipe, _answer(self._pipe, PAGE_WITHIN, f"page {number + 1}"))
        return pixels


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
        async with contextlib.AsyncExitStack() as stack:
            process = self._process()
            pipe = await _in(self._threads, process.__enter__)
            stack.push_async_callback(_in, self._threads, process.__exit__, None, None, None)
            kind, sizes = await _in(self._threads, _opened, pipe, data)
            yield Document(pipe, kind, sizes, self._threads)


def _opened(pipe: Connection, data: bytes) -> tuple[str, list[decoder.Size]]:
    with _told():
        pipe.send_bytes(data)
        kind, sizes = _answer(pipe, OPEN_WITHIN, "the document")
        return kind, sizes


def _answer(pipe: Connection, within: float, what: str) -> Any:
    if not pipe.poll(within):
        raise Refusal(422, f"{what} was not read within {within:.0f} s")
    answer = pipe.recv()
    if isinstance(answer, str):
        raise Refusal(422, answer)
    return answer


@contextlib.contextmanager
def _told() -> Any:
    """A process that ended is told of as what its document is."""
    try:
        yield
    except (EOFError, OSError) as ended:
        raise Refusal(422, STRANGER) from ended


async def _in(threads: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
