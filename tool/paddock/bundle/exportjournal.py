"""What an export has finished, so that it can go on after it was stopped, whatever stopped it.

One line of JSON for each finished layer, on the disk before the next layer begins. The first line says what is being
exported: a folder never gets layers of two exports.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from paddock.bundle.manifest import Layer, read_record
from paddock.bundle.partwriter import medium_named, sync_folder
from paddock.bundle.softwarelist import Software
from paddock.errors import BundleError

NAME = "export.journal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A layer whose blob is in the parts, from `offset`; its member of the archive ends at `end`."""

    layer: Layer
    offset: int
    end: int
    software: Software


@dataclass(frozen=True, kw_only=True, slots=True)
class _Start:
    key: str


class Journal:
    """The journal of one export in `folder`; `key` says what is exported."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / NAME
        self.finished: tuple[Finished, ...] = ()
        lines = self._lines()
        if not lines:
            self._write(_Start(key=key), new=True)
            return
        if read_record(json.loads(lines[0]), _Start, str(self.path)).key != key:
            raise BundleError(
                f"{folder}: holds an unfinished export of other images, or with other options",
                hint="name another directory, or remove this one",
            )
        self.finished = tuple(read_record(json.loads(line), Finished, str(self.path)) for line in lines[1:])

    def keep(self, count: int) -> None:
        """Forget all but the first `count` layers."""
        lines = self._lines()[: count + 1]
        partial = self.path.with_suffix(".partial")
        with medium_named(self.path.parent):
            partial.write_bytes(b"".join(line + b"\n" for line in lines))
            partial.replace(self.path)
        self.finished = self.finished[:count]

    def add(self, finished: Finished) -> None:
        """Remember a layer. What it says must be on the disk already."""
        self._write(finished)
        self.finished = (*self.finished, finished)

    def remove(self) -> None:
        """The export is complete."""
        with medium_named(self.path.parent):
            self.path.unlink()
            sync_folder(self.path.parent)

    def _lines(self) -> list[bytes]:
        """Whole lines: one that was cut while it was written does not count."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            os.truncate(self.path, len(whole))
        return whole.splitlines()

    def _write(self, record: _Start | Finished, *, new: bool = False) -> None:
        with medium_named(self.path.parent):
            with self.path.open("ab") as file:
                file.write(json.dumps(dataclasses.asdict(record)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                sync_folder(self.path.parent)
