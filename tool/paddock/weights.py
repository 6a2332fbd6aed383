"""Weight sets in a models directory: fetching them, carrying them in by hand, checking them.

A set is one directory, named as upstream names it, and one entry in `models.lock.json`. It appears by the rename of a
directory that is complete, agrees with the lock where there was an entry, and has been hashed. What is still on its
way lies in `.partial-<name>/`, stays there after Ctrl-C or a failure, and is continued by the next attempt.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import requests

from paddock import sources, weightfiles, weightslock
from paddock.download import Patience, download, matches, open_session, require_space, sha256_of
from paddock.errors import Interrupted, PreflightError, SourceError, WeightsError
from paddock.matrix import Model, Source, WeightSet, WeightsRole
from paddock.report import Reporter
from paddock.sources import Endpoints, Listing
from paddock.untar import unpack
from paddock.weightslock import Kind, LockedFile, LockedSet

__all__ = [
    "Checked",
    "How",
    "Kind",
    "Outcome",
    "Stored",
    "carry",
    "check",
    "fetch",
    "inspect",
    "kind_of",
    "needed_by",
    "publish",
    "record",
    "stored",
    "wanted",
]

REPLACE_HINT = "if the new files are wanted, run it again with --replace; otherwise restore the old ones"


class How(StrEnum):
    """What an operation did about a set."""

    FETCHED = "fetched"
    COPIED = "copied"
    MADE = "made"
    HERE = "already here"
    ADOPTED = "recorded"  # was in the directory, unknown to the lock


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One set after `fetch` or `carry`."""

    name: str
    path: Path
    how: How
    kind: Kind
    source: Source | None
    size: int  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One set in the models directory. `kind` None: the lock does not know it."""

    name: str
    path: Path
    kind: Kind | None
    source: Source | None
    size: int  # bytes
    files: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One set after hashing all its files. A problem reads `<set>/<file>: found ..., expected ...`."""

    name: str
    kind: Kind | None
    files: int
    size: int  # bytes
    problems: tuple[str, ...]


# --- fetching --------------------------------------------------------------------------------------------------------


def wanted(
    weights: Sequence[WeightSet], roles: Collection[WeightsRole] = (), *, vlm: WeightsRole = WeightsRole.VLM
) -> tuple[WeightSet, ...]:
    """The sets of a model that have one of `roles`; without roles, what a stack reads whose backend reads `vlm`."""
    other = {WeightsRole.VLM, WeightsRole.GGUF} - {vlm}
    if roles:
        return tuple(each for each in weights if each.role in roles)
    return tuple(each for each in weights if each.role not in other)


def fetch(
    weights: Sequence[WeightSet],
    *,
    models_dir: Path,
    report: Reporter,
    source: Source | None = None,
    endpoints: Endpoints | None = None,
    patience: Patience | None = None,
    ca_bundle: str | None = None,
    replace: bool = False,
) -> tuple[Outcome, ...]:
    """Have every set in `models_dir`, from `source` or from the first in order that answers.

    A set that is here stays, unless it is test weights or `replace` is set. Raises SourceError when no source gives a
    set, WeightsError when files are not what the lock says, PreflightError when the disk is too small, Interrupted
    after Ctrl-C; what has come so far is kept for the next attempt.
    """
    with open_session(ca_bundle) as session:
        fetching = _Fetching(
            session=session,
            models_dir=models_dir,
            report=report,
            source=source,
            endpoints=endpoints or Endpoints(),
            patience=patience or Patience(),
            replace=replace,
        )
        return tuple(
            _installed(each, models_dir, report, replace=replace, obtain=fetching.obtain, how=How.FETCHED)
            for each in weights
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Obtained:
    """Files that lie complete in a partial directory, and where they came from."""

    tree: Path
    kind: Kind
    source: Source | None = None
    url: str | None = None
    revision: str | None = None
    archive: LockedFile | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fetching:
    session: requests.Session
    models_dir: Path
    report: Reporter
    source: Source | None
    endpoints: Endpoints
    patience: Patience
    replace: bool

    def obtain(self, weights: WeightSet, partial: Path, locked: LockedSet | None) -> _Obtained:
        """The files of a set from the first source that gives them."""
        failures: list[SourceError] = []
        for source in self._order(weights, locked):
            try:
                return self._from(source, weights, partial, locked)
            except SourceError as failure:
                failures.append(failure)
                self.report.warn(f"{weights.name}: {source} does not give it: {failure.message}")
        raise _no_source(weights, failures)

    def _order(self, weights: WeightSet, locked: LockedSet | None) -> tuple[Source, ...]:
        if self.source is not None:
            return (self.source,)
        known = [source for source in sources.ORDER if sources.offers(weights, source)]
        if locked is not None and locked.source in known:
            known.sort(key=lambda source: source is not locked.source)
        return tuple(known)

    def _from(self, source: Source, weights: WeightSet, partial: Path, locked: LockedSet | None) -> _Obtained:
        revision = locked.revision if locked is not None and locked.source is source else None
        listing = sources.listing(
            self.session,
            weights,
            source,
            endpoints=self.endpoints,
            report=self.report,
            revision=revision,
            patience=self.patience,
        )
        self.report.say(f"{weights.name}: from {listing.url}")
        folder = partial / source.value
        folder.mkdir(parents=True, exist_ok=True)
        get = self._archive if listing.archive else self._files
        return get(listing, folder, partial / "tree")

    def _archive(self, listing: Listing, folder: Path, tree: Path) -> _Obtained:
        (remote,) = listing.files
        tar = folder / remote.path
        if not tar.is_file():  # an interrupted run may have left it whole
            download(self.session, remote.url, tar, report=self.report, patience=self.patience)
        archive = LockedFile(size=tar.stat().st_size, sha256=sha256_of(tar))
        _remove(tree)
        unpack(tar, tree, report=self.report)
        return _Obtained(tree=tree, kind=Kind.OFFICIAL, source=listing.source, url=listing.url, archive=archive)

    def _files(self, listing: Listing, folder: Path, tree: Path) -> _Obtained:
        del tree  # single files need no unpacking
        missing = [remote for remote in listing.files if not _whole(folder / remote.path, remote)]
        held = sum(path.stat().st_size for path in folder.rglob("*.part"))
        needed = sum(remote.published.size or 0 for remote in missing)
        require_space(folder, needed - held, listing.url)
        for remote in missing:
            download(
                self.session,
                remote.url,
                folder / remote.path,
                published=remote.published,
                report=self.report,
                patience=self.patience,
            )
        weightfiles.prune(folder, keep={remote.path for remote in listing.files})
        return _Obtained(
            tree=folder, kind=Kind.OFFICIAL, source=listing.source, url=listing.url, revision=listing.revision
        )


def _whole(path: Path, remote: sources.RemoteFile) -> bool:
    return path.is_file() and matches(path, remote.published)


def _no_source(weights: WeightSet, failures: Sequence[SourceError]) -> SourceError:
    reasons = "".join(f"\n  {failure.message}" for failure in failures) or " the registry names none"
    own = next((failure.hint for failure in failures if failure.hint), "")
    general = (
        "carry the weights in with --from DIR, name a mirror with HF_ENDPOINT, MODELSCOPE_ENDPOINT or "
        "PADDOCK_BOS_ENDPOINT, or make small test weights with `paddock models make-test`"
    )
    return SourceError(f"{weights.name}: no source gave it:{reasons}", hint=own or general)


# --- carrying in by hand ---------------------------------------------------------------------------------------------


def carry(
    weights: Sequence[WeightSet], *, carried: Path, models_dir: Path, report: Reporter, replace: bool = False
) -> tuple[Outcome, ...]:
    """Copy sets from `carried` into `models_dir`: a directory of sets or of upstream's tars, one set, or one tar.

    Nothing is copied unless every set is there or already here; where `carried` is one set or one tar, only that set is
    taken. Raises WeightsError for sets that are absent, incomplete or not what the lock says.
    """
    alone = _alone(weights, carried, report)
    places = {alone.name: carried} if alone is not None else _carried_places(weights, carried)
    chosen = (alone,) if alone is not None else tuple(weights)
    absent = [each.name for each in chosen if each.name not in places and not (models_dir / each.name).is_dir()]
    if absent:
        raise WeightsError(
            f"{carried}: found no {', '.join(absent)}; expected directories or tars (NAME or NAME_infer.tar) there",
            hint="choose single sets with --role, or carry the others too",
        )

    def obtain(each: WeightSet, partial: Path, locked: LockedSet | None) -> _Obtained:
        del locked  # compared once the files are here
        place = places.get(each.name)
        if place is None:
            raise WeightsError(f"{carried}: found no {each.name} to replace the one that is here")
        return _copied(each, place, partial, report)

    return tuple(
        _installed(each, models_dir, report, replace=replace, obtain=obtain, how=How.COPIED) for each in chosen
    )


def _alone(weights: Sequence[WeightSet], carried: Path, report: Reporter) -> WeightSet | None:
    """The set that `carried` itself is, by its name or by its files."""
    if not carried.exists():
        raise WeightsError(f"{carried}: is not there, expected a directory or tar of weights")
    stem = carried.name.removesuffix(".tar").removesuffix("_infer")
    named = next((each for each in weights if each.name == stem), None)
    if carried.is_file():
        if named is None:
            names = ", ".join(f"{each.name}_infer.tar" for each in weights)
            raise WeightsError(f"{carried}: found a file of another name, expected one of {names}")
        return named
    if named is not None and not weightfiles.lacking(carried, named):
        return named
    fitting = [each for each in weights if not weightfiles.lacking(carried, each)]
    if len(fitting) != 1:
        return None
    report.warn(f"{carried}: taken as {fitting[0].name}, which it fits by its files but not by its name")
    return fitting[0]


def _carried_places(weights: Sequence[WeightSet], carried: Path) -> dict[str, Path]:
    """Where each set lies; a directory is checked now, before anything is copied."""
    places: dict[str, Path] = {}
    for each in weights:
        names = (each.name, f"{each.name}_infer", f"{each.name}_infer.tar", f"{each.name}.tar")
        found = next((carried / name for name in names if (carried / name).exists()), None)
        if found is not None:
            if found.is_dir():
                weightfiles.locate(found, each)
            places[each.name] = found
    return places


def _copied(weights: WeightSet, place: Path, partial: Path, report: Reporter) -> _Obtained:
    tree = partial / "tree"
    _remove(tree)
    if place.is_dir():
        source = weightfiles.locate(place, weights)
        weightfiles.copy_tree(source, tree, label=f"copy {weights.name}", report=report)
        return _Obtained(tree=tree, kind=_brought(tree))
    archive = LockedFile(size=place.stat().st_size, sha256=sha256_of(place))
    unpack(place, tree, report=report)
    return _Obtained(tree=tree, kind=_brought(weightfiles.locate(tree, weights)), archive=archive)


def _brought(directory: Path) -> Kind:
    """Test weights stay test weights, and the embedded model what it is, however they came."""
    if (directory / weightfiles.EMBEDDED_MARKER).exists():
        return Kind.EMBEDDED
    return Kind.TEST if (directory / weightfiles.TEST_MARKER).exists() else Kind.CARRIED


# --- making a set visible --------------------------------------------------------------------------------------------


def publish(
    tree: Path, weights: WeightSet, *, models_dir: Path, kind: Kind, report: Reporter, replace: bool = True
) -> Outcome:
    """Make the complete directory `tree` (on the same file system) the set of that name, and record it.

    For weights made here; `tree` is moved away. Raises WeightsError when a file is lacking.
    """
    with _partial(models_dir, weights.name, report) as partial:
        if not replace and (models_dir / weights.name).exists():
            raise WeightsError(f"{models_dir / weights.name}: is already here")
        return _accepted(
            _Obtained(tree=tree, kind=kind),
            weights,
            models_dir=models_dir,
            partial=partial,
            expected=None,
            report=report,
            how=How.MADE,
        )


def record(models_dir: Path, name: str, *, kind: Kind, report: Reporter) -> LockedSet:
    """Hash the set that lies in `models_dir / name`, settle its modes and times, and write it to the lock."""
    directory = models_dir / name
    if not directory.is_dir():
        raise WeightsError(f"{directory}: is not there, expected the weights to record")
    entry = LockedSet(kind=kind, files=weightfiles.measure(directory, label=f"hash {name}", report=report))
    weightfiles.normalise(directory, entry.files)
    weightslock.put(models_dir, name, entry)
    return entry


_Obtain = Callable[[WeightSet, Path, LockedSet | None], _Obtained]


def _installed(
    weights: WeightSet, models_dir: Path, report: Reporter, *, replace: bool, obtain: _Obtain, how: How
) -> Outcome:
    """The set as it stands, or as `obtain` brings it."""
    if not replace and (here := _here(weights, models_dir)):
        return here
    try:
        with _partial(models_dir, weights.name, report) as partial:
            if not replace and (here := _here(weights, models_dir) or _adopted(weights, models_dir, report)):
                return here  # another process has brought it, or somebody has put it there
            locked = weightslock.read(models_dir).get(weights.name)
            if locked is not None and locked.kind is Kind.TEST:
                report.say(f"{weights.name}: these weights will replace the test weights")
            expected = None if replace or locked is None or locked.kind is Kind.TEST else locked
            with _unusable_removed(partial):
                return _accepted(
                    obtain(weights, partial, expected),
                    weights,
                    models_dir=models_dir,
                    partial=partial,
                    expected=expected,
                    report=report,
                    how=how,
                )
    except KeyboardInterrupt:
        raise Interrupted(
            f"{weights.name}: interrupted", hint="what has come is kept; the same command continues where this stopped"
        ) from None


def _here(weights: WeightSet, models_dir: Path) -> Outcome | None:
    """The recorded set that can stay. Sizes are compared; `check` compares content. Writes nothing."""
    directory = models_dir / weights.name
    locked = weightslock.read(models_dir).get(weights.name)
    if locked is None or locked.kind is Kind.TEST or not directory.is_dir():
        return None
    sizes = {path: file.stat().st_size for path, file in weightfiles.files_of(directory).items()}
    _refuse(directory, _differences(locked, sizes, {}))
    return _outcome(weights, models_dir, locked, How.HERE)


def _adopted(weights: WeightSet, models_dir: Path, report: Reporter) -> Outcome | None:
    """A complete set that somebody has put into the models directory, now recorded."""
    directory = models_dir / weights.name
    if not directory.is_dir() or weights.name in weightslock.read(models_dir):
        return None
    weightfiles.require(directory, weights)
    kind = _brought(directory)
    report.warn(f"{directory}: was here but not in {weightslock.NAME}; recorded as {kind}")
    entry = record(models_dir, weights.name, kind=kind, report=report)
    return _outcome(weights, models_dir, entry, How.ADOPTED)


def _accepted(
    obtained: _Obtained,
    weights: WeightSet,
    *,
    models_dir: Path,
    partial: Path,
    expected: LockedSet | None,
    report: Reporter,
    how: How,
) -> Outcome:
    """Check, hash and settle what was obtained, then swap it in."""
    root = weightfiles.locate(obtained.tree, weights)
    files = weightfiles.measure(root, label=f"hash {weights.name}", report=report)
    if expected is not None:
        _refuse(models_dir / weights.name, _compared(expected, files))
    weightfiles.normalise(root, files)
    entry = LockedSet(
        kind=obtained.kind,
        files=files,
        source=obtained.source,
        url=obtained.url,
        revision=obtained.revision,
        archive=obtained.archive,
    )
    _swap_in(root, models_dir, weights.name, entry, partial)
    return _outcome(weights, models_dir, entry, how)


def _swap_in(root: Path, models_dir: Path, name: str, entry: LockedSet, partial: Path) -> None:
    """Rename the new directory into place; on any failure the old one and its entry come back."""
    target, old = models_dir / name, partial / "old"
    before = weightslock.read(models_dir).get(name)
    _remove(old)
    try:
        if target.exists():
            target.rename(old)
        weightslock.put(models_dir, name, entry)
        root.rename(target)
    except BaseException:
        if not target.exists():
            if old.exists():
                old.rename(target)
            weightslock.put(models_dir, name, before)
        raise
    weightfiles.normalise(target, entry.files)
    _remove(partial)


@contextmanager
def _partial(models_dir: Path, name: str, report: Reporter) -> Iterator[Path]:
    """The directory in which a set grows, held against other processes. Only what can be continued stays in it."""
    partial = models_dir / f".partial-{name}"
    mark = partial / "lock"
    waiting = f"{name}: another paddock works on it; waiting"
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        where = refused.filename or partial
        raise PreflightError(f"{where}: {refused.strerror}, expected a directory that can be written") from refused
    with weightslock.held(mark, waiting=lambda: report.say(waiting)):
        try:
            yield partial
        finally:
            _remove(partial / "tree")
            if not any(path.is_file() and path != mark for path in partial.rglob("*")):
                _remove(partial)


@contextmanager
def _unusable_removed(partial: Path) -> Iterator[None]:
    """What came whole and cannot be used must not be found again by the next attempt."""
    try:
        yield
    except SourceError:
        raise
    except WeightsError:
        for path in partial.iterdir():
            if path.name != "lock":
                _remove(path)
        raise


def _remove(path: Path) -> None:
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


# --- checking and listing --------------------------------------------------------------------------------------------


def kind_of(models_dir: Path, name: str) -> Kind | None:
    """What the set in `models_dir` is; None when it is not there or the lock does not know it."""
    locked = weightslock.read(models_dir).get(name)
    return locked.kind if locked is not None and (models_dir / name).is_dir() else None


def stored(models_dir: Path) -> tuple[Stored, ...]:
    """Every set in `models_dir`, by name."""
    lock = weightslock.read(models_dir)
    return tuple(_stored(models_dir / name, lock.get(name)) for name in _directories(models_dir))


def needed_by(name: str, models: Collection[Model]) -> tuple[str, ...]:
    """The models that use a set of that name."""
    return tuple(sorted(model.name for model in models if any(each.name == name for each in model.weights)))


def inspect(models_dir: Path, names: Sequence[str] | None = None, *, report: Reporter) -> tuple[Checked, ...]:
    """Hash the files of the named sets, or of all that are here or in the lock, and compare them with the lock."""
    lock = weightslock.read(models_dir)
    chosen = sorted({*lock, *_directories(models_dir)}) if names is None else list(names)
    return tuple(_checked(models_dir / name, lock.get(name), report) for name in chosen)


def check(models_dir: Path, names: Sequence[str] | None = None, *, report: Reporter) -> tuple[Checked, ...]:
    """As `inspect`, but raises WeightsError that lists every problem, also when there is nothing to check."""
    return refuse_problems(models_dir, inspect(models_dir, names, report=report))


def refuse_problems(models_dir: Path, checked: Sequence[Checked]) -> tuple[Checked, ...]:
    """Raise WeightsError that lists every problem in `checked`; return it when there is none."""
    if not checked:
        raise WeightsError(
            f"{models_dir}: found no weights, expected at least one set", hint="paddock models fetch MODEL"
        )
    problems = [problem for each in checked for problem in each.problems]
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise WeightsError(f"{models_dir}: {len(problems)} problem(s):{listed}", hint="fetch the set with --replace")
    return tuple(checked)


def _directories(models_dir: Path) -> list[str]:
    if not models_dir.is_dir():
        return []
    return sorted(path.name for path in models_dir.iterdir() if path.is_dir() and not path.name.startswith("."))


def _stored(directory: Path, locked: LockedSet | None) -> Stored:
    sizes = [file.stat().st_size for file in weightfiles.files_of(directory).values()]
    return Stored(
        name=directory.name,
        path=directory,
        kind=locked.kind if locked else None,
        source=locked.source if locked else None,
        size=sum(sizes),
        files=len(sizes),
    )


def _checked(directory: Path, locked: LockedSet | None, report: Reporter) -> Checked:
    found: Mapping[str, LockedFile] = {}
    name = directory.name
    try:
        found = weightfiles.measure(directory, label=f"check {name}", report=report) if directory.is_dir() else {}
        problems = _set_problems(directory, locked, found)
    except WeightsError as unsafe:
        problems = (unsafe.message,)
    size = sum(file.size for file in found.values())
    return Checked(name=name, kind=locked.kind if locked else None, files=len(found), size=size, problems=problems)


def _set_problems(directory: Path, locked: LockedSet | None, found: Mapping[str, LockedFile]) -> tuple[str, ...]:
    if not directory.is_dir():
        return (f"{directory.name}: found no directory, expected the set",)
    if locked is None:
        return (f"{directory.name}: found no entry in {weightslock.NAME}, expected one",)
    return tuple(f"{directory.name}/{problem}" for problem in _compared(locked, found))


def _compared(locked: LockedSet, found: Mapping[str, LockedFile]) -> tuple[str, ...]:
    sizes = {path: file.size for path, file in found.items()}
    return _differences(locked, sizes, {path: file.sha256 for path, file in found.items()})


def _differences(locked: LockedSet, sizes: Mapping[str, int], hashes: Mapping[str, str]) -> tuple[str, ...]:
    """Each file that is not what the lock says; hashes are compared where they are given."""
    problems: list[str] = []
    for path in sorted({*locked.files, *sizes}):
        expected = locked.files.get(path)
        if expected is None:
            problems.append(f"{path}: found a file that is not in {weightslock.NAME}, expected none")
        elif path not in sizes:
            problems.append(f"{path}: found no file, expected {expected.size:,} bytes, SHA-256 {expected.sha256}")
        elif sizes[path] != expected.size:
            problems.append(f"{path}: found {sizes[path]:,} bytes, expected {expected.size:,}")
        elif hashes.get(path, expected.sha256) != expected.sha256:
            problems.append(f"{path}: found SHA-256 {hashes[path]}, expected {expected.sha256}")
    return tuple(problems)


def _refuse(directory: Path, problems: Sequence[str]) -> None:
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise WeightsError(f"{directory}: differs from {weightslock.NAME}:{listed}", hint=REPLACE_HINT)
