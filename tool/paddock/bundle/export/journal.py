"""What an export has finished, so that it can go on after it was stopped, whatever stopped it.

One line of JSON for each finished layer, on the disk before the next layer begins. The first line says what
is being exported: a folder never gets layers of two exports.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from paddock.bundle.export.medium import medium_named
from paddock.bundle.format.manifest import Blob, Layer, read_record
from paddock.bundle.layers.softwarelist import Software
from paddock.durable import flush_folder, write_durably
from paddock.errors import BundleError

NAME = "export.journal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A layer, and the blob that the parts have for it, if any; the archive has come to `end` with it.

    `bases` are the diff ids that a recipe is made on.
    """

    layer: Layer
    blob: Blob | None
    end: int
    software: Software
    bases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Start:
    key: str


def written_layers(folder: Path) -> tuple[Finished, ...]:
    """The layers that an unfinished export into `folder` has written; none where there is no such export."""
    path = folder / NAME
    return tuple(read_record(json.loads(line), Finished, str(path)) for line in _lines(path)[1:])


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a journal: one that was cut while it was written does not count."""
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
        if read_record(json.loads(lines[0]), _Start, str(self.path)).key != key:
            raise BundleError(
                f"{folder}: holds an unfinished export of other images, or with other options",
                hint="name another directory, or remove this one",
            )
        self.keep(len(self.finished))

    def keep(self, count: int) -> None:
        """Forget all but the first `count` layers, and a line that was cut while it was written."""
        lines = _lines(self.path)[: count + 1]
        with medium_named(self.path.parent):
            write_durably(self.path, b"".join(line + b"\n" for line in lines))
        self.finished = self.finished[:count]

    def add(self, finished: Finished) -> None:
        """Remember a layer. What it says must be on the disk already."""
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
