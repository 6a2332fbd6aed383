"""Making layer blobs: the frames of `cut`, each compressed by itself, several at a time, given on in their order.

A frame depends on its raw bytes, the level and the library only, so the site can make the same frame again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from paddock.bundle.libzstd import zstd
from paddock.bundle.manifest import Compression

# Packages get 4 % smaller than with level 3, for twice the time; weights, which hardly compress, cost the same.
COMPRESSION = Compression(level=5, libzstd=zstd.zstd_version)
MOST_THREADS = 8
_IN_FLIGHT = 24 << 20  # raw bytes that are being compressed or wait for their turn; twice that in memory


def compress_frame(raw: bytes, level: int = COMPRESSION.level) -> bytes:
    """One whole frame, which says its raw size in its header."""
    return zstd.compress(raw, level)


class FrameCompressor:
    """Threads that compress; a context manager."""

    def __init__(self, level: int = COMPRESSION.level) -> None:
        self._level = level
        self._threads = ThreadPoolExecutor(min(MOST_THREADS, len(os.sched_getaffinity(0))), "compress")

    def __enter__(self) -> FrameCompressor:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def compressed(self, raw_frames: Iterable[bytes]) -> Iterator[bytes]:
        """The frames of a blob in order. Reads ahead in `raw_frames`, by no more than memory allows."""
        running: deque[tuple[Future[bytes], int]] = deque()
        ahead = 0
        try:
            for raw in raw_frames:
                running.append((self._threads.submit(compress_frame, raw, self._level), len(raw)))
                ahead += len(raw)
                while running and (ahead > _IN_FLIGHT or running[0][0].done()):
                    future, size = running.popleft()
                    ahead -= size
                    yield future.result()
            while running:
                yield running.popleft()[0].result()
        finally:
            for future, _ in running:
                future.cancel()
