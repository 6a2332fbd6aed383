"""Making a weight set appear in a models directory, from whatever supplier brings its files.

A set is one directory, named as upstream names it, and one entry in `models.lock.json`. It appears by the
rename of a directory that is complete, agrees with the lock file where there was an entry, and has been
hashed. What is still on its way lies in `.partial-<name>/`, stays there after Ctrl-C or a failure, and is
continued by the next attempt.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from paddock import durable
from paddock.errors import Interrupted, SourceError, WeightsError, refusal
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.records import Source, WeightSet
from paddock.report import Reporter
from paddock.weights import lockfile, setfiles
from paddock.weights.lockfile import Kind, LockedFile, LockedSet
from paddock.weights.markers import kind_by_marker
from paddock.weights.published import OTHER_HINT

REPLACE_HINT = "if the new files are wanted, run it again with --replace; otherwise restore the old ones"
_LOCK = "lock"  # in the partial directory: held by the process that works on the set


class How(StrEnum):
    """What an operation did about a set."""

    FETCHED = "fetched"
    COPIED = "copied"
    MADE = "made"
    HERE = "already here"
    ADOPTED = "recorded"  # was in the directory, unknown to the lock


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One set after it was fetched, carried in or made."""

    name: str
    path: Path
    how: How
    kind: Kind
    source: Source | None
    size: int  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Obtained:
    """Files that lie complete in a partial directory, and where they came from."""

    tree: Path
    kind: Kind
    source: Source | None = None
    url: str | None = None
    revision: str | None = None
    archive: LockedFile | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A set that is to be obtained.

    `partial` is the directory in which it grows; `locked` is what its files must be, None where anything that
    is such a set will do.
    """

    weights: WeightSet
    partial: Path
    locked: LockedSet | None = None


class Supplier(Protocol):
    """Where weight sets come from."""

    @property
    def how(self) -> How:
        """What an outcome says of a set that was obtained here."""

    def obtain(self, request: Request) -> Obtained:
        """Bring the files of a set into a directory below `request.partial`.

        Raises SourceError when they are not to be had, WeightsError when they cannot be used.
        """


def publish(
    tree: Path, weights: WeightSet, *, models_dir: Path, kind: Kind, report: Reporter, replace: bool = True
) -> Outcome:
    """Make the complete directory `tree` (on the same file system) the set of that name, and record it.

    For weights made here; `tree` is moved away. Raises WeightsError when a file is lacking.
    """
    with _partial(models_dir, weights.name, report) as partial:
        if not replace and (models_dir / weights.name).exists():
            raise WeightsError(f"{models_dir / weights.name}: is already here")
        request = Request(weights=weights, partial=partial)
        made = Obtained(tree=tree, kind=kind)
        return _accept(made, request, models_dir=models_dir, report=report, how=How.MADE)


def record(
    models_dir: Path, name: str, *, kind: Kind, report: Reporter, weights: WeightSet | None = None
) -> LockedSet:
    """Hash the set that lies in `models_dir / name`, settle its modes and times, and write it to the lock.

    Raises WeightsError where it is not there, or not what is recorded of `weights`.
    """
    directory = models_dir / name
    if not directory.is_dir():
        raise WeightsError(f"{directory}: is not there, expected the weights to record")
    entry = LockedSet(kind=kind, files=setfiles.measure(directory, label=f"hash {name}", report=report))
    if weights is not None:
        _refuse_other(directory, weights, kind, entry.files)
    setfiles.normalise(directory, entry.files)
    lockfile.put(models_dir, name, entry)
    return entry


def install(
    weights: WeightSet, supplier: Supplier, *, models_dir: Path, report: Reporter, replace: bool = False
) -> Outcome:
    """Return the set as it stands, or as `supplier` brings it where it is missing or `replace` is set."""
    if not replace and (here := _here(weights, models_dir)):
        return here
    try:
        with _partial(models_dir, weights.name, report) as partial:
            # Another process may have brought it meanwhile, or somebody has put it there.
            if not replace and (here := _here(weights, models_dir) or _adopted(weights, models_dir, report)):
                return here
            locked = lockfile.read(models_dir).get(weights.name)
            if locked is not None and locked.kind is Kind.TEST:
                report.say(f"{weights.name}: these weights will replace the test weights")
                locked = None
            request = Request(weights=weights, partial=partial, locked=None if replace else locked)
            with _unusable_removed(partial):
                obtained = supplier.obtain(request)
                return _accept(obtained, request, models_dir=models_dir, report=report, how=supplier.how)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{weights.name}: interrupted",
            hint="what has come is kept; the same command continues where this stopped",
        ) from None


def _here(weights: WeightSet, models_dir: Path) -> Outcome | None:
    """Return the recorded set if it can stay, writing nothing.

    Only sizes are compared here; `checking.check` compares content.
    """
    directory = models_dir / weights.name
    locked = lockfile.read(models_dir).get(weights.name)
    if locked is None or locked.kind is Kind.TEST or not directory.is_dir():
        return None
    sizes = {path: file.stat().st_size for path, file in setfiles.files_of(directory).items()}
    _refuse(directory, _differences(locked, sizes, {}))
    return _outcome(weights, models_dir, locked, How.HERE)


def _adopted(weights: WeightSet, models_dir: Path, report: Reporter) -> Outcome | None:
    """Record and return a complete set that somebody has put into the models directory."""
    directory = models_dir / weights.name
    if not directory.is_dir() or weights.name in lockfile.read(models_dir):
        return None
    setfiles.require(directory, weights)
    kind = kind_by_marker(directory)
    report.warn(f"{directory}: was here but not in {lockfile.NAME}; recorded as {kind}")
    entry = record(models_dir, weights.name, kind=kind, report=report, weights=weights)
    return _outcome(weights, models_dir, entry, How.ADOPTED)


def _accept(obtained: Obtained, request: Request, *, models_dir: Path, report: Reporter, how: How) -> Outcome:
    """Check, hash and settle what was obtained, then swap it in."""
    weights = request.weights
    root = setfiles.locate(obtained.tree, weights)
    files = setfiles.measure(root, label=f"hash {weights.name}", report=report)
    _refuse_other(models_dir / weights.name, weights, obtained.kind, files)
    if request.locked is not None:
        _refuse(models_dir / weights.name, differences(request.locked, files))
    setfiles.normalise(root, files)
    entry = LockedSet(
        kind=obtained.kind,
        files=files,
        source=obtained.source,
        url=obtained.url,
        revision=obtained.revision,
        archive=obtained.archive,
    )
    _swap_in(root, models_dir, weights.name, entry, request.partial)
    return _outcome(weights, models_dir, entry, how)


def _swap_in(root: Path, models_dir: Path, name: str, entry: LockedSet, partial: Path) -> None:
    """Rename the new directory into place; on any failure the old one and its entry come back."""
    target, old = models_dir / name, partial / "old"
    before = lockfile.read(models_dir).get(name)
    remove(old)
    try:
        if target.exists():
            target.rename(old)
        lockfile.put(models_dir, name, entry)
        root.rename(target)
    except BaseException:
        if not target.exists():
            if old.exists():
                old.rename(target)
            lockfile.put(models_dir, name, before)
        raise
    setfiles.normalise(target, entry.files)
    remove(partial)


@contextmanager
def _partial(models_dir: Path, name: str, report: Reporter) -> Iterator[Path]:
    """Hold the directory in which a set grows; in the end only what can be continued stays in it."""
    partial = models_dir / f".partial-{name}"
    lock = partial / _LOCK
    waiting = f"{name}: another paddock is working on it; waiting"
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise refusal(refused, refused.filename or partial) from refused
    with durable.locked(lock, waiting=lambda: report.say(waiting)):
        try:
            yield partial
        finally:
            remove(partial / "tree")
            if not any(path.is_file() and path != lock for path in partial.rglob("*")):
                remove(partial)


@contextmanager
def _unusable_removed(partial: Path) -> Iterator[None]:
    """Remove what came whole and cannot be used, or the next attempt would find it again."""
    try:
        yield
    except SourceError:
        raise
    except WeightsError:
        for path in partial.iterdir():
            if path.name != _LOCK:
                remove(path)
        raise


def remove(path: Path) -> None:
    """Remove a file or a directory with all that is in it, where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _outcome(weights: WeightSet, models_dir: Path, entry: LockedSet, how: How) -> Outcome:
    return Outcome(
        name=weights.name,
        path=models_dir / weights.name,
        how=how,
        kind=entry.kind,
        source=entry.source,
        size=entry.size,
    )


def differences(locked: LockedSet, found: Mapping[str, LockedFile]) -> tuple[str, ...]:
    """Return each file that is not what the lock file says, in words."""
    sizes = {path: file.size for path, file in found.items()}
    return _differences(locked, sizes, {path: file.sha256 for path, file in found.items()})


def _differences(locked: LockedSet, sizes: Mapping[str, int], hashes: Mapping[str, str]) -> tuple[str, ...]:
    """As `differences`; hashes are compared where they are given."""
    problems: list[str] = []
    for path in sorted({*locked.files, *sizes}):
        expected = locked.files.get(path)
        if expected is None:
            problems.append(f"{path}: found a file that is not in {lockfile.NAME}, expected none")
        elif path not in sizes:
            problems.append(
                f"{path}: found no file, expected {expected.size:,} bytes, SHA-256 {expected.sha256}"
            )
        elif sizes[path] != expected.size:
            problems.append(f"{path}: found {sizes[path]:,} bytes, expected {expected.size:,}")
        elif hashes.get(path, expected.sha256) != expected.sha256:
            problems.append(f"{path}: found SHA-256 {hashes[path]}, expected {expected.sha256}")
    return tuple(problems)


def without_hashes(weights: WeightSet) -> WeightSet:
    """The set with no hash recorded: whatever a source has is taken."""
    return dataclasses.replace(weights, sha256=FrozenDict(), bos_sha256=None)


def _refuse_other(directory: Path, weights: WeightSet, kind: Kind, found: Mapping[str, LockedFile]) -> None:
    """Raise WeightsError where a file of upstream's has another hash than is recorded for it."""
    if kind not in (Kind.OFFICIAL, Kind.CARRIED):
        return
    problems = [
        f"{path}: found SHA-256 {found[path].sha256}, expected {recorded}"
        for path, recorded in weights.sha256.items()
        if path in found and found[path].sha256 != recorded
    ]
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise WeightsError(
            f"{directory}: differs from the {weights.name} that is recorded:{listed}", hint=OTHER_HINT
        )


def _refuse(directory: Path, problems: Sequence[str]) -> None:
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise WeightsError(f"{directory}: differs from {lockfile.NAME}:{listed}", hint=REPLACE_HINT)
