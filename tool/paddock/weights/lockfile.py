"""`models.lock.json`: what is known of every weight set in a models directory. No other module writes it.

Same content, same bytes: keys are sorted and there are no times. Writers take turns by a lock on `.lock`
beside it; a reader sees the old file or the new one, never half of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from paddock import durable
from paddock.errors import PreflightError, WeightsError, refusal
from paddock.jsonvalues import MalformedError, field, optional, typed
from paddock.matrix.records import Source

NAME = "models.lock.json"
FORMAT = 1


class Kind(StrEnum):
    """Where the files of a set came from."""

    OFFICIAL = "official"  # fetched from a source
    CARRIED = "carried"  # carried in by hand
    TEST = "test"  # made here; they read nothing
    EMBEDDED = "embedded"  # made here from the small model that paddock ships


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedFile:
    """What a file must be. `size` is in bytes, `sha256` hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedSet:
    """One weight set; `files` maps paths relative to its directory.

    `source`, `url` and `revision` say where the set came from; `archive` is the tar that it came in.
    """

    kind: Kind
    files: Mapping[str, LockedFile]
    source: Source | None = None
    url: str | None = None
    revision: str | None = None
    archive: LockedFile | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def read(models_dir: Path) -> dict[str, LockedSet]:
    """Return the sets that the lock file lists; none where there is no lock file.

    Raises WeightsError when it cannot be read or is not what paddock writes.
    """
    path = models_dir / NAME
    try:
        document = typed(json.loads(path.read_bytes()), dict, "the file")
        found = field(document, "format", int)
        if found != FORMAT:
            raise WeightsError(f"{path}: found format {found}, expected {FORMAT}", hint="use a newer paddock")
        return {name: _read_set(entry, name) for name, entry in field(document, "sets", dict).items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as refused:
        raise refusal(refused, path, raising=WeightsError) from refused
    except (ValueError, MalformedError) as wrong:
        raise WeightsError(
            f"{path}: cannot be read ({wrong}), expected the lock file that paddock writes",
            hint="restore it from a copy, or remove it to have the weights recorded anew as they are",
        ) from wrong


def put(models_dir: Path, name: str, entry: LockedSet | None) -> None:
    """Record a set, or forget it where `entry` is None. Raises PreflightError when it cannot be written."""

    def change(sets: dict[str, LockedSet]) -> None:
        sets.pop(name, None)
        if entry is not None:
            sets[name] = entry

    _update(models_dir, change)


def _update(models_dir: Path, change: Callable[[dict[str, LockedSet]], None]) -> None:
    path, lock = models_dir / NAME, models_dir / ".lock"
    with durable.writing(path, raising=PreflightError), durable.locked(lock, waiting=_wait_quietly):
        sets = read(models_dir)
        change(sets)
        text = json.dumps(_document(sets), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        durable.write_durably(path, text.encode())


def _wait_quietly() -> None:
    """Say nothing: another process holds this lock for as long as it takes to write one small file."""


def _document(sets: Mapping[str, LockedSet]) -> dict[str, object]:
    return {"format": FORMAT, "sets": {name: _plain_set(entry) for name, entry in sets.items()}}


def _plain_set(entry: LockedSet) -> dict[str, object]:
    plain: dict[str, object] = {
        "kind": entry.kind.value,
        "files": {path: _plain_file(file) for path, file in entry.files.items()},
    }
    if entry.source is not None:
        plain["source"] = entry.source.value
    if entry.archive is not None:
        plain["archive"] = _plain_file(entry.archive)
    if entry.url is not None:
        plain["url"] = entry.url
    if entry.revision is not None:
        plain["revision"] = entry.revision
    return plain


def _plain_file(file: LockedFile) -> dict[str, object]:
    return {"size": file.size, "sha256": file.sha256}


def _read_set(value: object, name: str) -> LockedSet:
    entry = typed(value, dict, name)
    source, archive = optional(entry, "source", str), optional(entry, "archive", dict)
    return LockedSet(
        kind=Kind(field(entry, "kind", str)),
        files={
            path: _read_file(typed(file, dict, path)) for path, file in field(entry, "files", dict).items()
        },
        source=None if source is None else Source(source),
        url=optional(entry, "url", str),
        revision=optional(entry, "revision", str),
        archive=None if archive is None else _read_file(archive),
    )


def _read_file(entry: Mapping[str, Any]) -> LockedFile:
    return LockedFile(size=field(entry, "size", int), sha256=field(entry, "sha256", str))
