"""Making layer blobs: the frames of `cut`, each compressed by itself, several at a time, given on in their
order.

A frame depends on its raw bytes, the level and the library only, so the site can make the same frame again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from paddock.bundle.format.libzstd import compressing, zstd
from paddock.bundle.format.manifest import Compression

# Packages get 4 % smaller than with level 3, for twice the time; weights, which hardly compress, cost the
# same.
COMPRESSION = Compression(level=5, libzstd=zstd.zstd_version)
MOST_THREADS = 8
_IN_FLIGHT = 24 << 20  # raw bytes that are being compressed or wait for their turn; twice that in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A frame that is compressed already; it takes its place among those that are not."""

    data: bytes


def compress_frame(raw: bytes, level: int = COMPRESSION.level) -> bytes:
    """One whole frame, which says its raw size in its header."""
    return zstd.compress(raw, level)


class FrameCompressor:
    """Threads that compress; a context manager."""

    def __init__(self, level: int = COMPRESSION.level) -> None:
        self._level = level
        self._threads = compressing(min(MOST_THREADS, len(os.sched_getaffinity(0))), "compress")

    def __enter__(self) -> FrameCompressor:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def compressed(self, frames: Iterable[bytes | Ready]) -> Iterator[bytes]:
        """The frames of a blob in order, of their raw bytes. Reads ahead in `frames`, by no more than memory
        allows.
        """
        running: deque[tuple[Future[bytes], int]] = deque()
        ahead = 0
        try:
            for frame in frames:
                future, size = self._begun(frame)
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

    def _begun(self, frame: bytes | Ready) -> tuple[Future[bytes], int]:
        """What will be the frame, and how many bytes it keeps in memory until then."""
        if not isinstance(frame, Ready):
            return self._threads.submit(compress_frame, frame, self._level), len(frame)
        done: Future[bytes] = Future()
        done.set_result(frame.data)
        return done, len(frame.data)
