"""The folder in which a site keeps what outlives a command: keys, numbers, imports under way, what is
installed.

PADDOCK_STATE names it; otherwise it is /var/lib/paddock for root and ~/.local/state/paddock for everybody
else.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from paddock.bundle.format.manifest import LARGEST, Manifest, parse
from paddock.bundle.format.reader import read_whole
from paddock.durable import flush_folder, write_durably, writing
from paddock.errors import BundleError

_INSTALLED = "installed.json"
_DAMAGED = "it is written by `paddock import`; move it away, then import the bundle again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """A name that an import gave to another image. Ids are the engine's; `previous` None where nobody had the
    name.
    """

    reference: str
    image: str
    previous: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """One bundle that was imported. `sequence` 0 where nobody signed it; `folder` None for a bundle without a
    stack.

    `undone`: a rollback has put back what was there before.
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
    """A part that was compared with its hash: its name, where it was read, and what the file looked like
    then.
    """

    name: str
    path: str
    seen: str

    @classmethod
    def read(cls, name: str, path: Path) -> Self:
        """A part that has just been read at `path`."""
        return cls(name=name, path=str(path.absolute()), seen=_seen(path))

    def is_unchanged(self) -> bool:
        """Whether nobody has written to the file since, or has put another in its place."""
        return self.seen == _seen(Path(self.path))


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """An import under way: parts that are good, and names to be given once that is settled, perhaps given
    already.
    """

    bundle: str
    parts: tuple[GoodPart, ...] = ()
    switches: tuple[Switch, ...] | None = None


def folder() -> Path:
    """Where the state is, or will be."""
    if chosen := os.environ.get("PADDOCK_STATE"):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/paddock")
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "paddock"


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keep every other import and rollback of this state away. Raises BundleError when one is under way."""
    with writing(state / "lock"):
        state.mkdir(parents=True, exist_ok=True)
        lock_file = (state / "lock").open("a+b", buffering=0)
    with lock_file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read(20).decode("ascii", "replace") or "unknown"
            raise BundleError(
                f"{state}: another import or rollback is under way (process {pid})",
                hint="wait for its end; it goes on with what is loaded already if it is ended and repeated",
            ) from None
        with writing(state / "lock"):
            lock.truncate(0)
            lock.write(str(os.getpid()).encode())
        yield


class SiteState:
    """The records in a state folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # what is installed, oldest first; the newest of each stack counts

    def installed(self) -> tuple[Installed, ...]:
        """Every bundle that an import installed, in that order."""
        found = self._read(_INSTALLED, [])
        try:
            return tuple(
                Installed(**{**each, "switches": tuple(Switch(**one) for one in each["switches"])})
                for each in found
            )
        except (TypeError, KeyError) as wrong:
            raise BundleError(f"{self.path / _INSTALLED}: is damaged ({wrong})", hint=_DAMAGED) from None

    def remember(self, installed: Installed, manifest: Manifest) -> None:
        """Add a bundle; the manifest tells later which blobs its images are made of."""
        self._put(f"bundles/{manifest.id}.json", manifest.to_bytes())
        others = [each for each in self.installed() if each.bundle != installed.bundle]
        self.replace((*others, installed))

    def replace(self, installed: tuple[Installed, ...]) -> None:
        """Write the whole row anew."""
        self._write(_INSTALLED, [dataclasses.asdict(each) for each in installed])

    def manifests(self) -> Iterator[Manifest]:
        """The manifests of the bundles that were installed."""
        for path in sorted((self.path / "bundles").glob("*.json")):
            yield parse(read_whole(path, LARGEST), where=str(path))

    # one import under way for each bundle

    def journal(self, bundle: str) -> Journal | None:
        """How far the import of a bundle has come; None where none is under way."""
        found = self._read(f"imports/{bundle}.json", None)
        if found is None:
            return None
        try:
            switches = found["switches"]
            return Journal(
                bundle=found["bundle"],
                parts=tuple(GoodPart(**each) for each in found["parts"]),
                switches=None if switches is None else tuple(Switch(**each) for each in switches),
            )
        except (TypeError, KeyError) as wrong:
            raise BundleError(
                f"{self.path}/imports/{bundle}.json: is damaged ({wrong})", hint=_DAMAGED
            ) from None

    def note(self, journal: Journal) -> None:
        """Write how far an import has come; it is on the disk when this returns."""
        self._write(f"imports/{journal.bundle}.json", dataclasses.asdict(journal))

    def forget(self, bundle: str) -> None:
        """The import is at its end, or is given up."""
        path = self.path / "imports" / f"{bundle}.json"
        if path.exists():
            with writing(path):
                path.unlink()
                flush_folder(path.parent)

    def under_way(self) -> tuple[str, ...]:
        """The bundles whose import was begun and not ended."""
        return tuple(sorted(path.stem for path in (self.path / "imports").glob("*.json")))

    def _read(self, name: str, absent: Any) -> Any:  # noqa: ANN401 - JSON
        path = self.path / name
        if not path.exists():
            return absent
        try:
            return json.loads(read_whole(path, LARGEST))
        except ValueError as wrong:
            raise BundleError(f"{path}: is damaged ({wrong})", hint=_DAMAGED) from None

    def _write(self, name: str, content: object) -> None:
        self._put(name, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")

    def _put(self, name: str, data: bytes) -> None:
        path = self.path / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, data)


def _seen(path: Path) -> str:
    """What differs once somebody has written to a file, or has put another in its place."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
