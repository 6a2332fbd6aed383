"""A layer of the classic store, read where it lies: from its unpacked files and tar-split's record of all the
rest.

The engine keeps that record in `tar-split.json.gz` (github.com/vbatts/tar-split), lines of JSON: `type` 2
with bytes in `payload`, `type` 1 with the name and the size of a file whose content stands there. Laid end to
end they are the tar that the layer came from, bit for bit.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from paddock.errors import EngineError

_PIECE = 1 << 20  # bytes handed over at once
_SEGMENT = 2
_FILE = 1
_HINT = "the engine's record of the layer and its files disagree; `docker save` may still have it, or load it again"


@contextmanager
def open_layer(diff_id: str, record: Path, folder: Path) -> Iterator[SplitLayer]:
    """The layer whose tar-split record is `record` and whose files are below `folder`.

    What is no file's content goes to a temporary file: it is some 1.5 KB for each file of the layer.
    """
    with tempfile.TemporaryFile() as rest:
        layer = SplitLayer(diff_id, record, folder, rest)
        try:
            yield layer
        finally:
            layer.close()


class SplitLayer:
    """The tar of one layer of a classic store; a `RawLayer`."""

    def __init__(self, diff_id: str, record: Path, folder: Path, rest: IO[bytes]) -> None:
        self.diff_id = diff_id
        self._folder = folder
        self._root = os.path.realpath(folder)
        self._safe = {""}  # folders below it that are known to lie in it
        self._rest = rest
        # Pieces in order: where each starts in the tar; its place in `rest`, or below 0 the file -1 - n of
        # `names`.
        self._starts, self._places, self._names = array("q"), array("q"), list[str]()
        self.size = self._read(record)
        self._open: tuple[int, IO[bytes]] | None = (
            None  # the file read last: bodies are read in order, and in pieces
        )

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises EngineError where the engine's files do not have them."""
        return b"".join(self._pieces(offset, length))

    def stream(self) -> Iterator[bytes]:
        """The whole tar from its start, in pieces of at most 1 MiB."""
        return self._pieces(0, self.size)

    def _read(self, record: Path) -> int:
        at = in_rest = 0
        try:
            with gzip.open(record) as lines:
                for line in lines:
                    entry = json.loads(line)
                    if entry["type"] == _SEGMENT:
                        payload = base64.b64decode(entry["payload"] or "")
                        if not self._places or self._places[-1] < 0:
                            self._add(at, in_rest)
                        self._rest.write(payload)
                        at, in_rest = at + len(payload), in_rest + len(payload)
                    elif entry["type"] == _FILE and entry.get("size"):
                        self._names.append(_name(entry))
                        self._add(at, -len(self._names))
                        at += entry["size"]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as broken:
            raise EngineError(f"{record}: cannot be read ({broken})", hint=_HINT) from broken
        return at

    def _add(self, start: int, place: int) -> None:
        self._starts.append(start)
        self._places.append(place)

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise EngineError(
                f"layer {self.diff_id}: found {self.size} bytes, expected some up to {offset + length}"
            )
        end = offset + length
        index = bisect_right(self._starts, offset) - 1
        while offset < end:
            stop = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
            while offset < min(stop, end):
                piece = self._some(
                    index, offset - self._starts[index], min(stop, end, offset + _PIECE) - offset
                )
                yield piece
                offset += len(piece)
            index += 1

    def _some(self, index: int, skip: int, length: int) -> bytes:
        place = self._places[index]
        source = self._rest if place >= 0 else self._file(-1 - place)
        source.seek(max(place, 0) + skip)
        found = source.read(length)
        if len(found) != length:
            name = "its record" if place >= 0 else self._names[-1 - place]
            raise EngineError(f"layer {self.diff_id}: {name} is shorter than it was", hint=_HINT)
        return found

    def _file(self, number: int) -> IO[bytes]:
        if self._open is None or self._open[0] != number:
            self.close()
            try:
                self._open = (number, self._below(self._names[number]).open("rb"))
            except OSError as absent:
                raise EngineError(
                    f"layer {self.diff_id}: {self._names[number]}: {absent.strerror}", hint=_HINT
                ) from absent
        return self._open[1]

    def _below(self, name: str) -> Path:
        """The file's path, once its folder is known not to lead out of the layer through a link."""
        parent, _, last = os.path.normpath("/" + name).lstrip("/").rpartition("/")
        if parent not in self._safe:
            real = os.path.realpath(self._folder / parent)
            if real != self._root and not real.startswith(self._root + "/"):
                raise EngineError(f"layer {self.diff_id}: {name}: leads out of the layer", hint=_HINT)
            self._safe.add(parent)
        path = self._folder / parent / last
        if path.is_symlink():
            raise EngineError(f"layer {self.diff_id}: {name}: found a link, expected a file", hint=_HINT)
        return path

    def close(self) -> None:
        """Let go of the file that was read last."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _name(entry: dict[str, str]) -> str:
    """`name`, or `name_raw` in base64 where it is not UTF-8."""
    if raw := entry.get("name_raw"):
        return os.fsdecode(base64.b64decode(raw))
    return entry["name"]
