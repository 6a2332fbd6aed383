"""`models.lock.json`: what is known of every weight set in a models directory, and the only code that writes
it.

Same content, same bytes: sorted keys and no times. Writers take turns by a lock on `.lock` beside it, and a
reader sees the old file or the new one, never half of one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paddock.errors import WeightsError
from paddock.matrix.records import Source

NAME = "models.lock.json"
FORMAT = 1


class Kind(StrEnum):
    """Where the files of a set came from."""

    OFFICIAL = "official"  # fetched from a source
    CARRIED = "carried"  # brought by hand
    TEST = "test"  # made here; they read nothing
    EMBEDDED = "embedded"  # made here from the small model that paddock carries


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedFile:
    """What a file must be. `size` is bytes, `sha256` hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedSet:
    """One weight set. `files` maps paths relative to its directory; `url`, `source`, `revision` say where it
    came from, `archive` is the tar that it came in.
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
    """The sets that the lock knows; none when there is no lock. Raises WeightsError when it cannot be read."""
    path = models_dir / NAME
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            raise WeightsError(
                f"{path}: found format {data['format']}, expected {FORMAT}", hint="use a newer paddock"
            )
        return {name: _set(found) for name, found in data["sets"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as refused:
        raise WeightsError(f"{path}: {refused.strerror}, expected a file that can be read") from refused
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise WeightsError(
            f"{path}: found something that cannot be read ({wrong}), expected the lock file that paddock writes",
            hint="restore it from a copy; without it, remove it and the weights are recorded anew as they are",
        ) from wrong


def put(models_dir: Path, name: str, entry: LockedSet | None) -> None:
    """Record a set, or forget it (None)."""

    def change(sets: dict[str, LockedSet]) -> None:
        sets.pop(name, None)
        if entry is not None:
            sets[name] = entry

    _update(models_dir, change)


@contextmanager
def held(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the file `path` against other processes; `waiting` is called once when another one has it.

    The file is made when it is not there, and taken again when its holder removed it meanwhile.
    """
    descriptor = _taken(path, waiting)
    try:
        yield
    finally:
        os.close(descriptor)


def _taken(path: Path, waiting: Callable[[], None]) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # its directory was removed just now
            continue
        try:
            _flock(descriptor, waiting)
        except BaseException:
            os.close(descriptor)
            raise
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _flock(descriptor: int, waiting: Callable[[], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _update(models_dir: Path, change: Callable[[dict[str, LockedSet]], None]) -> None:
    with held(models_dir / ".lock", waiting=lambda: None):
        sets = read(models_dir)
        change(sets)
        text = json.dumps(_document(sets), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        fresh = models_dir / f".{NAME}.new"
        with fresh.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(models_dir / NAME)


def _document(sets: Mapping[str, LockedSet]) -> dict[str, object]:
    return {"format": FORMAT, "sets": {name: _plain(entry) for name, entry in sets.items()}}


def _plain(entry: LockedSet) -> dict[str, object]:
    plain: dict[str, object] = {
        "kind": entry.kind.value,
        "files": {path: {"size": file.size, "sha256": file.sha256} for path, file in entry.files.items()},
    }
    if entry.source is not None:
        plain["source"] = entry.source.value
    if entry.archive is not None:
        plain["archive"] = {"size": entry.archive.size, "sha256": entry.archive.sha256}
    plain.update(
        {key: value for key, value in (("url", entry.url), ("revision", entry.revision)) if value is not None}
    )
    return plain


def _set(found: Mapping[str, object]) -> LockedSet:
    files, archive, source = found["files"], found.get("archive"), found.get("source")
    if not isinstance(files, dict):
        raise TypeError("files is not a mapping")
    return LockedSet(
        kind=Kind(str(found["kind"])),
        files={path: _file(file) for path, file in files.items()},
        source=Source(str(source)) if source is not None else None,
        url=_text(found.get("url")),
        revision=_text(found.get("revision")),
        archive=_file(archive) if archive is not None else None,
    )


def _file(found: object) -> LockedFile:
    if (
        not isinstance(found, dict)
        or not isinstance(found["size"], int)
        or not isinstance(found["sha256"], str)
    ):
        raise TypeError("a file has no size and sha256")
    return LockedFile(size=found["size"], sha256=found["sha256"])


def _text(found: object) -> str | None:
    if found is not None and not isinstance(found, str):
        raise TypeError(f"{found!r} is not a text")
    return found
