"""Making layer blobs: the frames that `cut` gives, compressed in parallel and kept in order.

A frame depends on its raw bytes, the level and the library only, so a site can make the same frame again.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paddock.bundle.format.libzstd import compression_threads, zstd
from paddock.bundle.format.manifest import Compression

if TYPE_CHECKING:
    from concurrent.futures import Future

# Makes packages 4 % smaller than level 3, in twice the time; weights hardly compress and take the same time.
LEVEL = 5
MOST_THREADS = 8
_IN_FLIGHT = 24 << 20  # raw bytes that are being compressed or wait for their turn; twice that in memory


@functools.cache
def own_compression() -> Compression:
    """How this program compresses layer blobs."""
    return Compression(level=LEVEL, libzstd=zstd.zstd_version)


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressedFrame:
    """A frame that is compressed already and takes its place among those that are not."""

    data: bytes


def compress_frame(raw: bytes, level: int = LEVEL) -> bytes:
    """One whole frame, which declares its raw size in its header."""
    return zstd.compress(raw, level)


class FrameCompressor:
    """A pool of threads that compress frames; a context manager."""

    def __init__(self, level: int = LEVEL) -> None:
        self._level = level
        self._threads = compression_threads(min(MOST_THREADS, len(os.sched_getaffinity(0))), "compress")

    def __enter__(self) -> FrameCompressor:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def compress(self, frames: Iterable[bytes | CompressedFrame]) -> Iterator[bytes]:
        """The frames of a blob in order, made from their raw bytes.

        Reads ahead in `frames`, but by no more than the memory for it is bounded.
        """
        running: deque[tuple[Future[bytes], int]] = deque()
        ahead = 0
        try:
            for frame in frames:
                future, size = self._begin(frame)
                running.append((future, size))
                ahead += size
                while running and (ahead > _IN_FLIGHT or running[0][0].done()):
                    future, size = running.popleft()
                    ahead -= size
                    yield future.result()
            while running:
                yield running.popleft()[0].result()
        finally:
            for future, _ in running:
                future.cancel()

    def _begin(self, frame: bytes | CompressedFrame) -> tuple[Future[bytes], int]:
        """A future of the compressed frame, and how many bytes it keeps in memory until then."""
        from concurrent.futures import Future  # noqa: PLC0415 - loaded by now, with the threads

        if not isinstance(frame, CompressedFrame):
            return self._threads.submit(compress_frame, frame, self._level), len(frame)
        done: Future[bytes] = Future()
        done.set_result(frame.data)
        return done, len(frame.data)
