"""A layer of the classic store, read where it lies: unpacked files, and tar-split's record of all the rest.

The engine keeps that record in `tar-split.json.gz` (github.com/vbatts/tar-split), lines of JSON: `type` 2
with bytes in `payload`, `type` 1 with the name and the size of a file whose content belongs there. In
sequence they are the tar that the layer came from, bit for bit.
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

_PIECE = 1 << 20  # bytes in one piece of a stream
_FILE, _SEGMENT = 1, 2  # types of a line of the record
_DISAGREE = (
    "the engine's record of the layer and its files disagree;"
    " `docker save` may still have the layer, or load its image again"
)


@contextmanager
def open_layer(diff_id: str, record: Path, folder: Path) -> Iterator[SplitLayer]:
    """The layer whose tar-split record is `record` and whose files are below `folder`.

    Whatever is not content of a file goes to a temporary file: some 1.5 KB for each file of the layer.
    """
    with tempfile.TemporaryFile() as rest:
        layer = SplitLayer(diff_id, record, folder, rest)
        try:
            yield layer
        finally:
            layer.close()


class SplitLayer:
    """A `RawLayer` of a classic store; `rest` takes whatever is not content of a file."""

    def __init__(self, diff_id: str, record: Path, folder: Path, rest: IO[bytes]) -> None:
        self.diff_id = diff_id
        self._folder = folder
        self._root = os.path.realpath(folder)
        self._safe = {""}  # folders below it that are known to lie in it
        self._rest = rest
        # The pieces of the tar in order. `starts` are their offsets in the tar. `places` are their offsets in
        # `rest`; for the content of a file, a negative number: -1 - the file's index in `names`.
        self._starts, self._places = array("q"), array("q")
        self._names: list[str] = []
        self.size = self._read(record)
        self._open: tuple[int, IO[bytes]] | None = None  # the file that was read last, and its index

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises EngineError where the engine's files lack them."""
        return b"".join(self._pieces(offset, length))

    def stream(self) -> Iterator[bytes]:
        """The whole tar from its start, in pieces of at most 1 MiB."""
        return self._pieces(0, self.size)

    def _read(self, record: Path) -> int:
        """Read the record, and return the size of the layer."""
        offset = in_rest = 0
        try:
            with gzip.open(record) as lines:
                for line in lines:
                    entry = json.loads(line)
                    if entry["type"] == _SEGMENT:
                        payload = base64.b64decode(entry["payload"] or "")
                        if not self._places or self._places[-1] < 0:
                            self._add(offset, in_rest)
                        self._rest.write(payload)
                        offset, in_rest = offset + len(payload), in_rest + len(payload)
                    elif entry["type"] == _FILE and entry.get("size"):
                        self._names.append(_name(entry))
                        self._add(offset, -len(self._names))
                        offset += entry["size"]
        except (OSError, EOFError, ValueError, KeyError, TypeError) as damaged:
            raise EngineError(f"{record}: cannot be read ({damaged})", hint=_DISAGREE) from damaged
        return offset

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
            start = self._starts[index]
            stop = min(end, self._starts[index + 1] if index + 1 < len(self._starts) else self.size)
            while offset < stop:
                piece = self._part(index, offset - start, min(_PIECE, stop - offset))
                yield piece
                offset += len(piece)
            index += 1

    def _part(self, index: int, skip: int, length: int) -> bytes:
        """`length` bytes of the piece with this index, after `skip` of them."""
        place = self._places[index]
        source = self._rest if place >= 0 else self._file(-1 - place)
        source.seek(max(place, 0) + skip)
        data = source.read(length)
        if len(data) != length:
            name = "its record" if place >= 0 else self._names[-1 - place]
            raise EngineError(f"layer {self.diff_id}: {name} is shorter than it was", hint=_DISAGREE)
        return data

    def _file(self, number: int) -> IO[bytes]:
        if self._open is None or self._open[0] != number:
            self.close()
            try:
                self._open = (number, self._below(self._names[number]).open("rb"))
            except OSError as absent:
                raise EngineError(
                    f"layer {self.diff_id}: {self._names[number]}: {absent.strerror}", hint=_DISAGREE
                ) from absent
        return self._open[1]

    def _below(self, name: str) -> Path:
        """The path of a file, after making sure that no link on the way leads out of the layer."""
        parent, _, last = os.path.normpath("/" + name).lstrip("/").rpartition("/")
        if parent not in self._safe:
            real = os.path.realpath(self._folder / parent)
            if real != self._root and not real.startswith(self._root + "/"):
                raise EngineError(f"layer {self.diff_id}: {name}: leads out of the layer", hint=_DISAGREE)
            self._safe.add(parent)
        path = self._folder / parent / last
        if path.is_symlink():
            raise EngineError(f"layer {self.diff_id}: {name}: found a link, expected a file", hint=_DISAGREE)
        return path

    def close(self) -> None:
        """Close the file that was read last."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _name(entry: dict[str, str]) -> str:
    """The name of a file: `name`, or `name_raw` in base64 where it is not UTF-8."""
    if raw := entry.get("name_raw"):
        return os.fsdecode(base64.b64decode(raw))
    return entry["name"]
