"""Every byte of a bundle compared with its manifest: which files are bad, and which to send again.

Works without an engine. Files are read from the medium, not from what the system still has of them in memory,
for that would hide bad writes. The archive's members are compared, too (`archivecheck`). Whether the manifest
itself can be trusted is the question of `trust`, and comes first.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from paddock.bundle.check.archivecheck import BlobCheck, require_consistent
from paddock.bundle.format.manifest import LARGEST, MANIFEST, SIGNATURE, SUMS, Manifest
from paddock.bundle.format.reader import STEP, OpenBundle, open_plain, read_whole, unreadable
from paddock.durable import write_durably
from paddock.errors import BundleError
from paddock.report import Advance, Reporter

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_AHEAD = 4  # pieces that wait for the thread that checks blobs
_HARMLESS = ("._", ".ds_store", "thumbs.db", "desktop.ini")  # file managers leave these on media


class Fault(StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    SIZE = "wrong size"
    SWAPPED = "swapped"
    CHANGED = "changed"
    FOREIGN = "foreign"  # not of the bundle, but in a place where it could be taken for a part of it
    INCONSISTENT = "inconsistent"  # as it was written, but not what the manifest says


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A bad file by its name in the bundle, and what was found in its place."""

    name: str
    fault: Fault
    found: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The outcome of a verification. `notes` say what is not a fault but worth knowing."""

    bundle: str
    files: int
    bytes: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def resend(self) -> tuple[str, ...]:
        """The files to send again, by their names in the bundle."""
        not_helped = (Fault.FOREIGN, Fault.INCONSISTENT)
        return tuple(sorted({problem.name for problem in self.problems if problem.fault not in not_helped}))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """A file of the bundle; `start` is where a part begins in the archive, None for any other file."""

    name: str
    size: int
    sha256: str
    start: int | None = None

    def problem(self, fault: Fault, found: str) -> Problem:
        return Problem(name=self.name, fault=fault, found=found)


def verify(
    bundle: OpenBundle,
    *,
    report: Reporter,
    known: Collection[str] = (),
    found_good: Callable[[str], None] = lambda _name: None,
) -> Verification:
    """Read every file and compare it; of several copies the first good one is used from then on.

    Parts named in `known` are taken for good and not read; `found_good` is called for each other good part.
    """
    entries = [entry for entry in _entries(bundle.manifest) if entry.name not in known]
    notes: list[str] = []
    problems = [*_sums(bundle), *_strays(bundle, notes)]
    total = sum(entry.size for entry in entries)
    blobs = BlobCheck(bundle)
    with report.progress("verify", total=total, unit="bytes") as advance, _feeding(blobs) as feed:
        for entry in entries:
            problem = _checked(bundle, entry, feed, notes, advance)
            if problem:
                problems.append(problem)
            elif entry.start is not None:
                found_good(entry.name)
    if all(problem.fault is Fault.FOREIGN for problem in problems):
        problems += _inconsistencies(bundle, blobs)
    return Verification(
        bundle=bundle.manifest.id,
        files=len(entries),
        bytes=total,
        problems=tuple(sorted(problems, key=lambda problem: problem.name)),
        notes=tuple(notes),
    )


def require_good(verification: Verification) -> None:
    """Raise BundleError that names the bad files, if there are any."""
    problems = verification.problems
    if not problems:
        return
    first = "; ".join(f"{problem.name}: {problem.fault}, {problem.found}" for problem in problems[:3])
    more = f"; {len(problems) - 3} more" if len(problems) > 3 else ""
    raise BundleError(f"bundle {verification.bundle}: {first}{more}", hint=_remedy(verification))


def _remedy(verification: Verification) -> str:
    faults = {problem.fault for problem in verification.problems}
    if faults == {Fault.FOREIGN}:
        return "remove these files; they are not part of this bundle"
    if not verification.resend:
        return "take the bundle from the workshop again"
    again = f"send again: {' '.join(verification.resend)}"
    return f"{again}; or name the folders that have them, too" if Fault.MISSING in faults else again


def write_resend(verification: Verification, path: Path) -> None:
    """Write the names of the files to send again, one a line, for the `--files-from` of rsync and tar.

    Raises OSError as the system does.
    """
    write_durably(path, "".join(f"{name}\n" for name in verification.resend).encode())


def _entries(manifest: Manifest) -> Iterator[_Entry]:
    """Every file, the small ones first, so that what is wrong with them is known at once."""
    for file in manifest.files:
        yield _Entry(name=file.path, size=file.size, sha256=file.sha256)
    start = 0
    for part in manifest.parts:
        yield _Entry(name=part.name, size=part.size, sha256=part.sha256, start=start)
        start += part.size


# --- one file -----------------------------------------------------------------------------------------------


def _checked(
    bundle: OpenBundle, entry: _Entry, feed: BlobFeed, notes: list[str], advance: Advance
) -> Problem | None:
    """What is wrong with the last copy of a file; None where a copy is good, which is then used."""
    try:
        copies = bundle.copies(entry.name)
    except BundleError as wrong:
        return entry.problem(Fault.UNREADABLE, wrong.message)
    problem: Problem | None = None
    for path in copies:
        before, problem = problem, _compared(bundle, entry, path, feed, advance)
        if problem is None:
            bundle.use(entry.name, path)
            if before:
                notes.append(f"{entry.name}: a copy is bad ({before.fault}, {before.found}); {path} is good")
            return None
        if entry.start is not None:
            feed.forget(entry.start, entry.start + entry.size)
    return problem or entry.problem(Fault.MISSING, "in none of the folders")


def _compared(
    bundle: OpenBundle, entry: _Entry, path: Path, feed: BlobFeed, advance: Advance
) -> Problem | None:
    """What is wrong with one copy of a file."""
    sha256, size = hashlib.sha256(), 0
    try:
        with _from_medium(path) as descriptor:
            size = os.fstat(descriptor).st_size
            if size not in _sizes(bundle.manifest):
                return entry.problem(Fault.SIZE, f"{path} has {size} bytes, expected {entry.size}")
            position = 0
            while piece := os.read(descriptor, STEP):
                sha256.update(piece)
                if entry.start is not None and size == entry.size:
                    feed(entry.start + position, piece)
                position += len(piece)
                advance(len(piece))
    except BundleError as wrong:
        return entry.problem(Fault.UNREADABLE, wrong.message)
    except OSError as failed:
        return entry.problem(Fault.UNREADABLE, unreadable(str(path), failed).message)
    return _judged(bundle.manifest, entry, path, size, sha256.hexdigest())


def _judged(manifest: Manifest, entry: _Entry, path: Path, size: int, sha256: str) -> Problem | None:
    """What is wrong with a file that has this size and this hash."""
    if sha256 == entry.sha256:
        return None
    others = [other.name for other in _entries(manifest) if other.sha256 == sha256]
    if others:
        return entry.problem(Fault.SWAPPED, f"{path} is {others[0]}")
    if size != entry.size:
        return entry.problem(Fault.SIZE, f"{path} has {size} bytes, expected {entry.size}")
    return entry.problem(Fault.CHANGED, f"{path} has the SHA-256 {sha256}, expected {entry.sha256}")


def _sizes(manifest: Manifest) -> set[int]:
    return {entry.size for entry in _entries(manifest)}


@contextmanager
def _from_medium(path: Path) -> Iterator[int]:
    """A file opened for reading in order, of which the page cache holds nothing."""
    descriptor = open_plain(path)
    try:
        with suppress(OSError):  # not every file system supports this
            os.fsync(descriptor)  # pages still to be written would stay in memory
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield descriptor
    finally:
        os.close(descriptor)


# --- the archive --------------------------------------------------------------------------------------------


class BlobFeed:
    """Feeds the archive's bytes to a `BlobCheck` in another thread, at most a few pieces behind."""

    def __init__(self, blobs: BlobCheck, thread: ThreadPoolExecutor) -> None:
        self._blobs, self._thread = blobs, thread
        self._pending: deque[Future[None]] = deque()

    def __call__(self, offset: int, data: bytes) -> None:
        self._pending.append(self._thread.submit(self._blobs.feed, offset, data))
        while len(self._pending) > _AHEAD:
            self._pending.popleft().result()

    def forget(self, offset: int, end: int) -> None:
        """Do not judge the blobs between `offset` and `end`: bytes that were fed there were wrong."""
        self.settle()
        self._blobs.forget(offset, end)

    def settle(self) -> None:
        """Wait until everything that was fed has been checked."""
        while self._pending:
            self._pending.popleft().result()


@contextmanager
def _feeding(blobs: BlobCheck) -> Iterator[BlobFeed]:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only used here, and slow to import

    with ThreadPoolExecutor(1, "check-blobs") as thread:
        feed = BlobFeed(blobs, thread)
        yield feed
        feed.settle()


def _inconsistencies(bundle: OpenBundle, blobs: BlobCheck) -> list[Problem]:
    """What was wrong when the bundle was written, now that every file is known to be as it was written."""
    faults = list(blobs.faults)
    try:
        require_consistent(bundle)
    except BundleError as wrong:
        faults.append(wrong.message)
    archive = bundle.manifest.archive
    return [Problem(name=archive, fault=Fault.INCONSISTENT, found=fault) for fault in faults]


# --- files beside those of the manifest ---------------------------------------------------------------------


def _sums(bundle: OpenBundle) -> Iterator[Problem]:
    """What is wrong with SHA256SUMS, which follows from the manifest instead of standing in it."""
    try:
        copies = bundle.copies(SUMS)
        if not copies:
            yield Problem(name=SUMS, fault=Fault.MISSING, found="in none of the folders")
        elif all(read_whole(path, LARGEST) != bundle.manifest.sums() for path in copies):
            found = f"{copies[0]} does not say what {MANIFEST} says"
            yield Problem(name=SUMS, fault=Fault.CHANGED, found=found)
    except BundleError as wrong:
        yield Problem(name=SUMS, fault=Fault.UNREADABLE, found=wrong.message)


def _strays(bundle: OpenBundle, notes: list[str]) -> Iterator[Problem]:
    """Files on the media that are not of the bundle; those that do no harm only get a note.

    Harmful are those that `cat images.tar.*` takes for a part, or that Compose could read beside a stack.
    """
    names = {entry.name for entry in _entries(bundle.manifest)} | {MANIFEST, SIGNATURE, SUMS}
    folders = {PurePosixPath(name).parts[0].casefold() for name in names if "/" in name}
    ours = {str(path).casefold(): path for name in names for path in _copies(bundle, name)}
    parts = f"{bundle.manifest.archive}.".casefold()
    for directory in bundle.directories:
        beside = []
        for path in _not_ours(directory, folders, ours):
            name = path.relative_to(directory).as_posix()
            in_folder = "/" in name and not path.name.casefold().startswith(_HARMLESS)
            if in_folder or name.casefold().startswith(parts):
                found = f"{_shown(str(path))} is not a file of this bundle"
                yield Problem(name=_shown(name), fault=Fault.FOREIGN, found=found)
            else:
                beside.append(_shown(name))
        if beside:
            listed = ", ".join(beside[:3]) + (" ..." if len(beside) > 3 else "")
            notes.append(f"{directory}: {listed} not looked at, not being of the bundle")


def _not_ours(directory: Path, folders: Collection[str], ours: Mapping[str, Path]) -> Iterator[Path]:
    """The files below a folder of the medium that are not in `ours`, which are by path in lower case."""
    listed = set(_files(directory, folders))
    for path in sorted(listed):
        own = ours.get(str(path).casefold())
        # FAT finds a file by the name that we ask for, and lists it by the name that it has
        if own is None or (own != path and own in listed):
            yield path


def _shown(name: str) -> str:
    """A file name from a medium, which may hold any character, in a form that can be printed."""
    return name if name.isprintable() else ascii(name)


def _copies(bundle: OpenBundle, name: str) -> tuple[Path, ...]:
    try:
        return bundle.copies(name)
    except BundleError:  # reported where the file itself is checked
        return ()


def _files(directory: Path, folders: Collection[str]) -> Iterator[Path]:
    """The files at the top of a folder of the medium, and those below its folders named in `folders`."""
    for root, below, names in os.walk(directory):
        top = Path(root) == directory
        links = [name for name in below if (Path(root) / name).is_symlink()]
        yield from (Path(root) / name for name in sorted([*names, *links]))
        below[:] = [name for name in below if not top or name.casefold() in folders]
