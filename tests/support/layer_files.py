"""Layers in memory and in plain tar files, a source for exports and deltas in tests, and content for them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from small_images import digest


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no compressor makes smaller, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def text(size: int, seed: int = 0) -> bytes:
    """Bytes that compress as programs do."""
    words = [noise(4, seed).hex().encode() for seed in range(seed, seed + 200)]
    chosen = random.Random(seed)
    return b" ".join(chosen.choices(words, k=size // 9 + 1))[:size]


class MemoryLayer:
    """A raw layer in memory that can only be read inside its bounds."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.diff_id = data, len(data), digest(data)

    def read_at(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size, "read outside the layer"
        return self.data[offset : offset + length]

    def stream(self) -> Iterator[bytes]:
        for start in range(0, self.size, 70_001):
            yield self.data[start : start + 70_001]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLayer:
    """A `RawLayer` over a file."""

    diff_id: str
    path: Path
    piece: int = 1 << 20

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def read_at(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def stream(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while data := file.read(self.piece):
                yield data


class LayerFiles:
    """A `LayerSource` over a folder of tars named by their diff ids; `stream` gives `piece` bytes at once."""

    def __init__(self, folder: Path, *, piece: int = 1 << 20) -> None:
        self._folder, self._piece = folder, piece
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, data: bytes) -> str:
        """Keep a layer, and return its diff id."""
        self.path(digest(data)).write_bytes(data)
        return digest(data)

    def path(self, name: str) -> Path:
        return self._folder / name.removeprefix("sha256:")

    def holds(self, name: str) -> bool:
        return self.path(name).is_file()

    @contextmanager
    def open(self, name: str) -> Iterator[FileLayer]:
        assert self.holds(name)
        yield FileLayer(diff_id=name, path=self.path(name), piece=self._piece)
