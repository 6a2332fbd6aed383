"""Every byte of a bundle compared with its manifest, without an engine: which files are bad, and what to send
again.

Files are read from the medium, not from what the system still has of them in memory, for that hides bad
writes. The archive's content is compared, too: see `archivecheck`. Whether the manifest is to be trusted is
`trust`'s question, and comes first.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from paddock.bundle.check.archivecheck import BlobCheck, require_consistent
from paddock.bundle.format.manifest import LARGEST, MANIFEST, SIGNATURE, SUMS, Manifest
from paddock.bundle.format.reader import STEP, OpenBundle, open_plain, read_whole, unreadable
from paddock.durable import write_durably
from paddock.errors import BundleError
from paddock.report import Advance, Reporter

_AHEAD = 4  # pieces that wait for the thread that looks at blobs
_HARMLESS = ("._", ".ds_store", "thumbs.db", "desktop.ini")  # file managers leave them on media


class Fault(StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    SIZE = "wrong size"
    SWAPPED = "swapped"
    CHANGED = "changed"
    FOREIGN = "foreign"  # the bundle does not have it, and something could take it for a part of it
    INCONSISTENT = "inconsistent"  # as it was written, but not what the manifest says


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One bad file by its name in the bundle, and what was found in its place."""

    name: str
    fault: Fault
    found: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What there is to say about a bundle. `notes` are not faults."""

    bundle: str
    files: int
    bytes: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def resend(self) -> tuple[str, ...]:
        """The files to send again, by their names in the bundle."""
        bad = {each.name for each in self.problems if each.fault not in (Fault.FOREIGN, Fault.INCONSISTENT)}
        return tuple(sorted(bad))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """A file of the bundle; `start` is where it begins in the archive, None for a file beside it."""

    name: str
    size: int
    sha256: str
    start: int | None = None

    def bad(self, fault: Fault, found: str) -> Problem:
        return Problem(name=self.name, fault=fault, found=found)


def verify(
    bundle: OpenBundle,
    *,
    report: Reporter,
    known: Collection[str] = (),
    found_good: Callable[[str], None] = lambda _name: None,
) -> Verification:
    """Read everything and compare it. Where a file has several copies, the first good one is used from then
    on.

    Parts named in `known` are taken for good and not read; `found_good` is told of each other part that is.
    """
    entries = [each for each in _entries(bundle.manifest) if each.name not in known]
    notes: list[str] = []
    problems = [*_sums(bundle), *_strays(bundle, notes)]
    total = sum(each.size for each in entries)
    blobs = BlobCheck(bundle)
    with report.progress("verify", total=total, unit="bytes") as advance, _feeding(blobs) as feed:
        for entry in entries:
            problem = _checked(bundle, entry, feed, notes, advance)
            if problem:
                problems.append(problem)
            elif entry.start is not None:
                found_good(entry.name)
    if not any(each.fault is not Fault.FOREIGN for each in problems):
        problems += _inconsistent(bundle, blobs)
    return Verification(
        bundle=bundle.manifest.id,
        files=len(entries),
        bytes=total,
        problems=tuple(sorted(problems, key=lambda each: each.name)),
        notes=tuple(notes),
    )


def require(found: Verification) -> None:
    """Raise BundleError that names the bad files."""
    if not found.problems:
        return
    first = "; ".join(f"{each.name}: {each.fault}, {each.found}" for each in found.problems[:3])
    more = f"; {len(found.problems) - 3} more" if len(found.problems) > 3 else ""
    hint = (
        f"send again: {' '.join(found.resend)}" if found.resend else "take the bundle from the workshop again"
    )
    if any(each.fault is Fault.MISSING for each in found.problems):
        hint += "; or name the folders that have them, too"
    if all(each.fault is Fault.FOREIGN for each in found.problems):
        hint = "remove these files; they are not part of this bundle"
    raise BundleError(f"bundle {found.bundle}: {first}{more}", hint=hint)


def write_resend(found: Verification, path: Path) -> None:
    """Write the names of the files to send again, one a line: `rsync --files-from` and `tar --files-from`
    read it.

    Raises OSError as the system does.
    """
    write_durably(path, "".join(f"{name}\n" for name in found.resend).encode())


def _entries(manifest: Manifest) -> Iterator[_Entry]:
    """The small files first: a mistake there is told at once."""
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
    """What is wrong with every copy of a file; None, and the first good copy is used, where one is good."""
    try:
        copies = bundle.copies(entry.name)
    except BundleError as wrong:
        return entry.bad(Fault.UNREADABLE, wrong.message)
    problem: Problem | None = None
    for path in copies:
        before, problem = problem, _wrong(bundle, entry, path, feed, advance)
        if problem is None:
            bundle.use(entry.name, path)
            if before:
                notes.append(f"{entry.name}: a copy is bad ({before.fault}, {before.found}); {path} is good")
            return None
        if entry.start is not None:
            feed.forget(entry.start, entry.start + entry.size)
    return problem or entry.bad(Fault.MISSING, "in none of the folders")


def _wrong(bundle: OpenBundle, entry: _Entry, path: Path, feed: BlobFeed, advance: Advance) -> Problem | None:
    """What is wrong with one copy of a file."""
    sha256, size = hashlib.sha256(), 0
    try:
        with _from_medium(path) as descriptor:
            size = os.fstat(descriptor).st_size
            if size not in _sizes(bundle.manifest):
                return entry.bad(Fault.SIZE, f"{path} has {size} bytes, expected {entry.size}")
            position = 0
            while piece := os.read(descriptor, STEP):
                sha256.update(piece)
                if entry.start is not None and size == entry.size:
                    feed(entry.start + position, piece)
                position += len(piece)
                advance(len(piece))
    except BundleError as wrong:
        return entry.bad(Fault.UNREADABLE, wrong.message)
    except OSError as failed:
        return entry.bad(Fault.UNREADABLE, unreadable(str(path), failed).message)
    return _compared(bundle.manifest, entry, path, size, sha256.hexdigest())


def _compared(manifest: Manifest, entry: _Entry, path: Path, size: int, found: str) -> Problem | None:
    if found == entry.sha256:
        return None
    others = [each.name for each in _entries(manifest) if each.sha256 == found]
    if others:
        return entry.bad(Fault.SWAPPED, f"{path} is {others[0]}")
    if size != entry.size:
        return entry.bad(Fault.SIZE, f"{path} has {size} bytes, expected {entry.size}")
    return entry.bad(Fault.CHANGED, f"{path} has the SHA-256 {found}, expected {entry.sha256}")


def _sizes(manifest: Manifest) -> set[int]:
    return {each.size for each in _entries(manifest)}


@contextmanager
def _from_medium(path: Path) -> Iterator[int]:
    """A file to be read in order, nothing of which the system has in memory."""
    descriptor = open_plain(path)
    try:
        with suppress(OSError):  # not every file system can
            os.fsync(descriptor)  # what is still to be written would stay in memory
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield descriptor
    finally:
        os.close(descriptor)


# --- the archive --------------------------------------------------------------------------------------------


class BlobFeed:
    """Gives the archive's bytes to a `BlobCheck` in a thread of its own, a few pieces ahead."""

    def __init__(self, blobs: BlobCheck, thread: ThreadPoolExecutor) -> None:
        self._blobs, self._thread = blobs, thread
        self._waiting: deque[Future[None]] = deque()

    def __call__(self, offset: int, data: bytes) -> None:
        self._waiting.append(self._thread.submit(self._blobs.feed, offset, data))
        while len(self._waiting) > _AHEAD:
            self._waiting.popleft().result()

    def forget(self, offset: int, end: int) -> None:
        """Bytes that were given were wrong."""
        self.settle()
        self._blobs.forget(offset, end)

    def settle(self) -> None:
        """Wait until everything given was looked at."""
        while self._waiting:
            self._waiting.popleft().result()


@contextmanager
def _feeding(blobs: BlobCheck) -> Iterator[BlobFeed]:
    with ThreadPoolExecutor(1, "check-blobs") as thread:
        feed = BlobFeed(blobs, thread)
        yield feed
        feed.settle()


def _inconsistent(bundle: OpenBundle, blobs: BlobCheck) -> list[Problem]:
    """Where every file is as it was written: whether it was written right."""
    faults = list(blobs.faults)
    try:
        require_consistent(bundle)
    except BundleError as wrong:
        faults.append(wrong.message)
    return [Problem(name=bundle.manifest.archive, fault=Fault.INCONSISTENT, found=each) for each in faults]


# --- files beside those of the manifest ---------------------------------------------------------------------


def _sums(bundle: OpenBundle) -> Iterator[Problem]:
    """SHA256SUMS is not in the manifest, which it names; it follows from it."""
    try:
        copies = bundle.copies(SUMS)
        if not copies:
            yield Problem(name=SUMS, fault=Fault.MISSING, found="in none of the folders")
        elif all(read_whole(path, LARGEST) != bundle.manifest.sums() for path in copies):
            yield Problem(
                name=SUMS, fault=Fault.CHANGED, found=f"{copies[0]} does not say what {MANIFEST} says"
            )
    except BundleError as wrong:
        yield Problem(name=SUMS, fault=Fault.UNREADABLE, found=wrong.message)


def _strays(bundle: OpenBundle, notes: list[str]) -> Iterator[Problem]:
    """Files that could be taken for the bundle's: by `cat images.tar.*`, or by Compose in the stack's folder."""
    manifest = bundle.manifest
    names = {each.name for each in _entries(manifest)} | {MANIFEST, SIGNATURE, SUMS}
    folders = {PurePosixPath(name).parts[0].casefold() for name in names if "/" in name}
    ours = {str(path).casefold(): path for name in names for path in _copies(bundle, name)}
    for directory in bundle.directories:
        beside = []
        listed = set(_files(directory, folders))
        for path in sorted(listed):
            name = path.relative_to(directory).as_posix()
            own = ours.get(str(path).casefold())
            # FAT finds a file by our name and lists it by its own
            if own is not None and (own == path or own not in listed):
                continue
            below = "/" in name and not path.name.casefold().startswith(_HARMLESS)
            if below or name.casefold().startswith(f"{manifest.archive}.".casefold()):
                found = f"{_shown(str(path))} is not a file of this bundle"
                yield Problem(name=_shown(name), fault=Fault.FOREIGN, found=found)
            else:
                beside.append(_shown(name))
        if beside:
            shown = ", ".join(beside[:3]) + (" ..." if len(beside) > 3 else "")
            notes.append(f"{directory}: {shown} not looked at, not being of the bundle")


def _shown(name: str) -> str:
    """A name from a medium, which may hold anything, as it can be printed."""
    return name if name.isprintable() else ascii(name)


def _copies(bundle: OpenBundle, name: str) -> tuple[Path, ...]:
    try:
        return bundle.copies(name)
    except BundleError:  # it is told where the file is checked
        return ()


def _files(directory: Path, folders: Collection[str]) -> Iterator[Path]:
    """What lies in a folder of the medium, and whatever lies below those of its folders that belong to the
    bundle.
    """
    for root, below, names in os.walk(directory):
        top = Path(root) == directory
        links = [each for each in below if (Path(root) / each).is_symlink()]
        yield from (Path(root) / each for each in sorted([*names, *links]))
        below[:] = [each for each in below if not top or each.casefold() in folders]
