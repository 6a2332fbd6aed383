"""Writing the archive of a bundle straight into its parts, which are never longer than the medium allows.

A part is called `<name>.partial` until every part is whole and on the disk. The header before a blob holds
the blob's digest, so it is written after the blob; until then `retain` keeps its place out of the hashes.
Hashes are made of what is read back, in a thread beside the writing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from paddock.bundle.export.medium import medium_named
from paddock.bundle.format.manifest import Part, part_name
from paddock.durable import flush_folder
from paddock.errors import BundleError

PARTIAL = ".partial"
_STEP = 8 << 20  # bytes after which hashing follows writing
_PIECE = 1 << 20


class PartWriter:
    """The parts of one archive in `folder`; a context manager. Raises BundleError when the medium fails."""

    def __init__(self, folder: Path, archive: str, part_size: int) -> None:
        self._folder, self._archive, self._part_size = folder, archive, part_size
        self.position = 0  # in the archive, where the next byte goes
        self._file: int | None = None  # the part that is written to
        self._hashes: list[_Hash] = []  # one for each part
        self._retained = range(0)  # offsets of bytes that will be overwritten
        self._thread = ThreadPoolExecutor(1, "hash-parts")

    def __enter__(self) -> PartWriter:
        with medium_named(self._folder):
            self._make_partial_again()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        with suppress(OSError):  # after an error that was raised already; `finish` leaves nothing open
            self._close()

    def resume(self, position: int) -> None:
        """Go on at `position` of what an earlier run wrote; what it wrote after that is dropped."""
        with medium_named(self._folder):
            count = -(-position // self._part_size)
            for number in range(count):
                size = min(self._part_size, position - number * self._part_size)
                _truncate(self._partial(number), size)
                self._hashes.append(_Hash(self._partial(number)))
            kept = {part.path for part in self._hashes}
            for path in self._folder.glob(f"{self._archive}.*"):
                if path not in kept:
                    path.unlink()
        self.position = position
        self._hash_final()

    def write(self, data: bytes) -> None:
        """Append to the archive."""
        left = memoryview(data)
        with medium_named(self._folder):
            while left:
                room = self._part_size - self.position % self._part_size
                _write_all(self._current(), left[:room])
                self.position += len(left[:room])
                if len(left) >= room:
                    self._close()
                left = left[room:]
        self._hash_final(behind=_STEP)

    def retain(self, size: int) -> int:
        """Keep the next `size` bytes out of the hashes until `overwrite`; returns their offset."""
        self._retained = range(self.position, self.position + size)
        return self.position

    def overwrite(self, offset: int, data: bytes) -> None:
        """Replace what was written at `offset`, and let everything be hashed that was retained."""
        left = memoryview(data)
        with medium_named(self._folder):
            while left:
                number, at = divmod(offset, self._part_size)
                piece = left[: self._part_size - at]
                file = os.open(self._partial(number), os.O_WRONLY)
                try:
                    os.lseek(file, at, os.SEEK_SET)
                    _write_all(file, piece)
                    os.fsync(file)
                finally:
                    os.close(file)
                offset, left = offset + len(piece), left[len(piece) :]
        self._retained = range(0)
        self._hash_final(behind=_STEP)

    def sync(self) -> None:
        """Flush everything written so far to the disk."""
        with medium_named(self._folder):
            if self._file is not None:
                os.fsync(self._file)
            flush_folder(self._folder)

    def finish(self) -> tuple[Part, ...]:
        """Have the parts on the disk and under their names, and describe them."""
        self.sync()
        self._close()
        self._hash_final()
        with medium_named(self._folder):
            parts = tuple(self._described(number) for number in range(len(self._hashes)))
            for number, part in enumerate(parts):
                self._partial(number).replace(self._folder / part.name)
            flush_folder(self._folder)
        return parts

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        """Bytes of the archive that were written before."""
        while size:
            number, at = divmod(offset, self._part_size)
            wanted = min(size, _PIECE, self._part_size - at)
            with medium_named(self._folder), self._partial(number).open("rb") as file:
                file.seek(at)
                data = file.read(wanted)
            if len(data) != wanted:
                raise BundleError(f"{self._partial(number)}: found fewer bytes than were written")
            yield data
            offset, size = offset + wanted, size - wanted

    def _described(self, number: int) -> Part:
        hashed = self._hashes[number]
        name = part_name(self._archive, number)
        return Part(name=name, size=hashed.path.stat().st_size, sha256=hashed.result())

    def _make_partial_again(self) -> None:
        """Rename parts that an earlier run had finished when it was stopped."""
        for path in self._folder.glob(f"{self._archive}.*"):
            if path.suffix != PARTIAL:
                path.replace(path.with_name(path.name + PARTIAL))

    def _partial(self, number: int) -> Path:
        return self._folder / (part_name(self._archive, number) + PARTIAL)

    def _current(self) -> int:
        if self._file is None:
            number = self.position // self._part_size
            path = self._partial(number)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if number == len(self._hashes):
                self._hashes.append(_Hash(path))
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def _hash_final(self, *, behind: int = 0) -> None:
        """Let the thread hash what will not change any more, in steps of `behind` bytes or more of a part."""
        for number, part in enumerate(self._hashes):
            start = number * self._part_size
            end = min(self.position, start + self._part_size)
            if self._retained.start < end and start < self._retained.stop:
                end = max(start, self._retained.start)
            final = end - start  # bytes of this part
            waiting = final - part.asked
            if waiting > 0 and (waiting >= behind or final == self._part_size):
                part.follow(final, self._thread)


class _Hash:
    """The SHA-256 of a part as far as it is final."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = 0  # bytes from the start that are hashed or soon will be
        self._sha256 = hashlib.sha256()
        self._done = 0
        self._last: Future[None] | None = None

    def follow(self, size: int, thread: ThreadPoolExecutor) -> None:
        self.asked = size
        self._last = thread.submit(self._read_to, size)

    def result(self) -> str:
        if self._last is not None:
            self._last.result()  # the thread works in order
        return self._sha256.hexdigest()

    def _read_to(self, size: int) -> None:
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._done)
            while self._done < size:
                data = file.read(min(_PIECE, size - self._done))
                if not data:
                    raise BundleError(f"{self.path}: ended at byte {self._done}, expected {size}")
                self._sha256.update(data)
                self._done += len(data)


def _write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _truncate(path: Path, size: int) -> None:
    if path.stat().st_size < size:
        raise BundleError(f"{path}: found {path.stat().st_size} bytes, an earlier run had written {size}")
    os.truncate(path, size)
