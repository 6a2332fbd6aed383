"""What a site keeps between commands: pinned keys, sequence numbers, unfinished imports, what is installed.

All of it lies in one folder: PADDOCK_STATE names it; otherwise it is /var/lib/paddock for root and
~/.local/state/paddock for everybody else.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from paddock import durable, paths
from paddock.bundle.format.manifest import LARGEST, Manifest, parse
from paddock.bundle.format.reader import read_whole
from paddock.bundle.format.records import parse_json, read_record, read_records
from paddock.durable import flush_folder, write_durably, writing
from paddock.errors import BundleError, quoted

_INSTALLED = "installed.json"
_LONGEST_PID = 20  # bytes of a lock file


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """An image name that an import moved from one image to another.

    `image` and `previous` are ids of the engine; `previous` is None if the name was free.
    """

    reference: str
    image: str
    previous: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """A bundle that was imported.

    `sequence` is 0 if nobody signed the bundle, `folder` is None for a bundle without a stack. `undone` is
    true once a rollback has restored what was there before.
    """

    bundle: str
    sequence: int
    tool: str
    time: str  # UTC
    stack: str | None
    folder: str | None
    switches: tuple[Switch, ...]
    undone: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GoodPart:
    """A part whose hash was right, where it was read, and what its file looked like then."""

    name: str
    path: str
    seen: str

    @classmethod
    def read(cls, name: str, path: Path) -> Self:
        """A part that has just been read at `path`."""
        return cls(name=name, path=str(path.absolute()), seen=_fingerprint(path))

    def is_unchanged(self) -> bool:
        """Whether the file has neither been written to nor replaced since."""
        return self.seen == _fingerprint(Path(self.path))


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """How far an import has come.

    `parts` are good; `switches` are the names to be moved, perhaps moved already, and None until all images
    are proven.
    """

    bundle: str
    parts: tuple[GoodPart, ...] = ()
    switches: tuple[Switch, ...] | None = None


def folder() -> Path:
    """Where the state is, or will be."""
    if chosen := os.environ.get("PADDOCK_STATE"):
        return paths.expanded(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/paddock")
    return paths.expanded(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "paddock"


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keep every other import and rollback away from this state. Raises BundleError when one is under way."""
    path = state / "lock"
    with ExitStack() as held:
        with writing(path):
            try:
                descriptor = held.enter_context(durable.locked(path))
            except BlockingIOError:
                raise _busy(path) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield


def _busy(lock: Path) -> BundleError:
    with lock.open("rb") as file:
        pid = file.read(_LONGEST_PID).decode("ascii", "replace") or "unknown"
    return BundleError(
        f"{lock.parent}: another import or rollback is under way (process {pid})",
        hint="Wait until it ends. If it was stopped, the same command goes on with what is loaded already.",
    )


class SiteState:
    """The records in a state folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # what is installed, oldest first; the newest of each stack counts

    def installed(self) -> tuple[Installed, ...]:
        """Every bundle that was installed, in the order of the imports."""
        path = self.path / _INSTALLED
        if not path.exists():
            return ()
        return read_records(_read_json(path), Installed, where=str(path), hint=_damaged(path))

    def remember(self, installed: Installed, manifest: Manifest) -> None:
        """Add a bundle; its manifest tells later which blobs its images consist of."""
        self._write(f"bundles/{manifest.id}.json", manifest.to_bytes())
        others = [record for record in self.installed() if record.bundle != installed.bundle]
        self.replace((*others, installed))

    def replace(self, installed: tuple[Installed, ...]) -> None:
        """Write the whole list anew."""
        self._write(_INSTALLED, _json([dataclasses.asdict(record) for record in installed]))

    def manifests(self) -> Iterator[Manifest]:
        """The manifests of the bundles that were installed."""
        for path in sorted((self.path / "bundles").glob("*.json")):
            yield parse(read_whole(path, LARGEST), where=str(path))

    # one journal for each import that is not finished

    def journal(self, bundle: str) -> Journal | None:
        """How far the import of a bundle has come; None if none was begun."""
        path = self._journal_path(bundle)
        if not path.exists():
            return None
        return read_record(_read_json(path), Journal, where=str(path), hint=_damaged(path))

    def note(self, journal: Journal) -> None:
        """Record how far an import has come; it is on the disk when this returns."""
        self._write(f"imports/{journal.bundle}.json", _json(dataclasses.asdict(journal)))

    def forget(self, bundle: str) -> None:
        """Remove the journal of an import that is finished or abandoned."""
        path = self._journal_path(bundle)
        if path.exists():
            with writing(path):
                path.unlink()
                flush_folder(path.parent)

    def unfinished(self) -> tuple[str, ...]:
        """The bundles whose import was begun and is not finished."""
        return tuple(sorted(path.stem for path in (self.path / "imports").glob("*.json")))

    def _journal_path(self, bundle: str) -> Path:
        return self.path / "imports" / f"{bundle}.json"

    def _write(self, name: str, data: bytes) -> None:
        path = self.path / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, data)


def _read_json(path: Path) -> object:
    return parse_json(read_whole(path, LARGEST), where=str(path), hint=_damaged(path))


def _damaged(path: Path) -> str:
    away = quoted(path.with_name(f"{path.name}.damaged"))
    return f"move it away, `mv {quoted(path)} {away}`, then import the bundle again"


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def _fingerprint(path: Path) -> str:
    """A text that changes when a file is written to or replaced; empty if the file is missing."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
