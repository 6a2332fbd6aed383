"""What an export has finished, so that it can go on after anything that stopped it.

The journal has one line of JSON for each finished layer, on the disk before the next layer begins. Its first
line says what is being exported: a folder never gets layers of two exports.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from paddock.bundle.export.medium import medium_named
from paddock.bundle.format.manifest import Blob, Layer
from paddock.bundle.format.records import parse_json, read_record
from paddock.bundle.layers.softwarelist import Software
from paddock.durable import flush_folder, write_durably
from paddock.errors import BundleError

NAME = "export.journal"
_DAMAGED = "remove the directory, and export again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A layer that was written, or is left out."""

    layer: Layer
    blob: Blob | None  # what the parts have for it; None if it is left out
    end: int  # of the archive with this layer
    software: Software
    bases: tuple[str, ...] = ()  # diff ids of the layers that its recipe is made on


@dataclass(frozen=True, kw_only=True, slots=True)
class _Start:
    """The first line."""

    key: str


_Record = TypeVar("_Record", _Start, Finished)


def written_layers(folder: Path) -> tuple[Finished, ...]:
    """The layers that an unfinished export into `folder` has written; none if there is no such export."""
    path = folder / NAME
    return tuple(_read(line, Finished, path) for line in _lines(path)[1:])


def _read(line: bytes, record: type[_Record], path: Path) -> _Record:
    where = str(path)
    return read_record(parse_json(line, where=where, hint=_DAMAGED), record, where=where, hint=_DAMAGED)


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a journal; the last one is left out if it was cut off while it was written."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return data[: data.rfind(b"\n") + 1].splitlines()


class Journal:
    """The journal of one export in `folder`; `key` says what is exported."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / NAME
        self.finished = written_layers(folder)
        lines = _lines(self.path)
        if not lines:
            with medium_named(folder):
                write_durably(self.path, _line(_Start(key=key)))
            return
        if _read(lines[0], _Start, self.path).key != key:
            raise BundleError(
                f"{folder}: holds an unfinished export of other images, or with other options",
                hint="name another directory, or remove this one",
            )
        self.keep(len(self.finished))

    def keep(self, count: int) -> None:
        """Forget all but the first `count` layers, and a line that was cut off while it was written."""
        lines = _lines(self.path)[: count + 1]
        with medium_named(self.path.parent):
            write_durably(self.path, b"".join(line + b"\n" for line in lines))
        self.finished = self.finished[:count]

    def add(self, finished: Finished) -> None:
        """Remember a layer, which must be on the disk already."""
        with medium_named(self.path.parent), self.path.open("ab") as file:
            file.write(_line(finished))
            file.flush()
            os.fsync(file.fileno())
        self.finished = (*self.finished, finished)

    def remove(self) -> None:
        """The export is complete."""
        with medium_named(self.path.parent):
            self.path.unlink()
            flush_folder(self.path.parent)


def _line(record: _Start | Finished) -> bytes:
    return json.dumps(dataclasses.asdict(record)).encode() + b"\n"
