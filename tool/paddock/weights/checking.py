"""Looking at the sets in a models directory: what is there, and whether it is what the lock file says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import WeightsError, quoted
from paddock.matrix.records import Model, Source
from paddock.report import Reporter
from paddock.weights import lockfile, setfiles
from paddock.weights.installing import differences
from paddock.weights.lockfile import Kind, LockedFile, LockedSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One set in the models directory; `kind` is None where the lock file does not list it."""

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


def kind_of(models_dir: Path, name: str) -> Kind | None:
    """Return what the set in `models_dir` is; None when it is not there or not in the lock file."""
    locked = lockfile.read(models_dir).get(name)
    return locked.kind if locked is not None and (models_dir / name).is_dir() else None


def stored(models_dir: Path) -> tuple[Stored, ...]:
    """Return every set in `models_dir`, by name."""
    lock = lockfile.read(models_dir)
    return tuple(_stored(models_dir / name, lock.get(name)) for name in _directories(models_dir))


def needed_by(name: str, models: Collection[Model]) -> tuple[str, ...]:
    """Return the names of the models that use a set of that name."""
    return tuple(
        sorted(model.name for model in models if name in {weight_set.name for weight_set in model.weights})
    )


def inspect(models_dir: Path, names: Sequence[str] | None = None, *, report: Reporter) -> tuple[Checked, ...]:
    """Hash the files of the named sets and compare them with the lock file.

    Without names, these are all sets that are here or in the lock file.
    """
    lock = lockfile.read(models_dir)
    chosen = sorted({*lock, *_directories(models_dir)}) if names is None else list(names)
    return tuple(_checked(models_dir / name, lock.get(name), report) for name in chosen)


def check(models_dir: Path, names: Sequence[str] | None = None, *, report: Reporter) -> tuple[Checked, ...]:
    """As `inspect`, but raises WeightsError that lists every problem, also when there is nothing to check."""
    return refuse_problems(models_dir, inspect(models_dir, names, report=report))


def refuse_problems(models_dir: Path, checked: Sequence[Checked]) -> tuple[Checked, ...]:
    """Raise WeightsError that lists every problem in `checked`; return it when there is none."""
    if not checked:
        raise WeightsError(
            f"{models_dir}: found no weights, expected at least one set",
            hint=f"`paddock models fetch paddleocr-vl-1.6 --to {quoted(models_dir)}` brings some",
        )
    problems = [problem for checked_set in checked for problem in checked_set.problems]
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise WeightsError(
            f"{models_dir}: {len(problems)} problem(s):{listed}", hint="fetch the set with --replace"
        )
    return tuple(checked)


def _directories(models_dir: Path) -> list[str]:
    if not models_dir.is_dir():
        return []
    return sorted(
        path.name for path in models_dir.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _stored(directory: Path, locked: LockedSet | None) -> Stored:
    sizes = [file.stat().st_size for file in setfiles.files_of(directory).values()]
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
        if directory.is_dir():
            found = setfiles.measure(directory, label=f"check {name}", report=report)
        problems = _set_problems(directory, locked, found)
    except WeightsError as unsafe:
        problems = (unsafe.message,)
    size = sum(file.size for file in found.values())
    return Checked(
        name=name, kind=locked.kind if locked else None, files=len(found), size=size, problems=problems
    )


def _set_problems(
    directory: Path, locked: LockedSet | None, found: Mapping[str, LockedFile]
) -> tuple[str, ...]:
    if not directory.is_dir():
        return (f"{directory.name}: found no directory, expected the set",)
    if locked is None:
        return (f"{directory.name}: found no entry in {lockfile.NAME}, expected one",)
    return tuple(f"{directory.name}/{problem}" for problem in differences(locked, found))
