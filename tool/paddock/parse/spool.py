"""A file without a name that holds what an answer brings, so that memory does not.

It goes away with the last `Kept` that lies in it, and with the process however that ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PIECE = 1 << 18  # bytes read at a time


class Spool:
    """A file in `folder`, or where the system keeps temporary ones, made when something is written."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._descriptor = -1
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append `data`. Raises OSError as the system does."""
        rest = memoryview(data)
        if rest and self._descriptor < 0:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                self._descriptor = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._descriptor)
        while rest:
            written = os.pwrite(self._descriptor, rest, self.size)
            rest = rest[written:]
            self.size += written

    def since(self, start: int) -> Kept:
        """What was written after the first `start` bytes."""
        return Kept(spool=self, start=start, size=self.size - start)

    def keep(self, data: bytes) -> Kept:
        """Write `data`, and say where it lies."""
        start = self.size
        self.write(data)
        return self.since(start)

    def read(self, start: int, size: int) -> bytes:
        """Return bytes that were written."""
        return os.pread(self._descriptor, size, start) if size else b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A piece of a spool."""

    spool: Spool
    start: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes, in parts that are small beside the whole."""
        for at in range(0, self.size, _PIECE):
            yield self.spool.read(self.start + at, min(_PIECE, self.size - at))

    def read(self) -> bytes:
        """Return its bytes."""
        return b"".join(self.pieces())
