"""Stored files: each is written once, whole or not at all, and never changed. The database names those that count.

Keys are paths below one folder: `documents/JOB`, `parts/JOB/SEQ.EPOCH`, `results/JOB.EPOCH/NAME`. Two writers never
share a key, since each lease has an epoch of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PART = ".part"


class Written:
    """A file that is being written, its size and hash."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0  # bytes

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()


class Blobs:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, key: str) -> Path:
        return self._root / key

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[Written]:
        """A file that has its name, also after a power cut, once the block ends; an exception leaves nothing."""
        path = self.path(key)
        self._make(path.parent)
        part = path.with_name(f"{path.name}.{secrets.token_hex(6)}{PART}")
        try:
            with part.open("xb") as file:
                yield Written(file)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync(path.parent)  # the name

    def put(self, key: str, data: bytes) -> None:
        with self.writing(key) as file:
            file.write(data)

    def read(self, key: str) -> bytes:
        return self.path(key).read_bytes()

    def remove(self, key: str) -> None:
        """A file, or a folder with all that is in it; nothing happens where there is none."""
        path = self.path(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def older(self, folder: str, age: float) -> list[str]:
        """Keys right below `folder` of files and folders that nobody has changed for `age` seconds."""
        before = time.time() - age
        found = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.path(folder)):
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_mtime < before:
                        found.append(f"{folder}/{entry.name}")
        return found

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != self._root:
            self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
