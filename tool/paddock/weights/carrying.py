"""Carrying weight sets in by hand: a directory of sets or of upstream's tars, one set, or one tar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paddock.errors import WeightsError
from paddock.matrix.records import WeightSet
from paddock.report import Reporter
from paddock.weights import setfiles
from paddock.weights.download import sha256_of
from paddock.weights.installing import How, Obtained, Outcome, installed, remove
from paddock.weights.lockfile import LockedFile, LockedSet
from paddock.weights.markers import brought
from paddock.weights.untar import unpack

# --- carrying in by hand ------------------------------------------------------------------------------------


def carry(
    weights: Sequence[WeightSet], *, carried: Path, models_dir: Path, report: Reporter, replace: bool = False
) -> tuple[Outcome, ...]:
    """Copy sets from `carried` into `models_dir`: a directory of sets or of upstream's tars, one set, or one
    tar.

    Nothing is copied unless every set is there or already here; where `carried` is one set or one tar, only
    that set is taken. Raises WeightsError for sets that are absent, incomplete or not what the lock says.
    """
    alone = _alone(weights, carried, report)
    places = {alone.name: carried} if alone is not None else _carried_places(weights, carried)
    chosen = (alone,) if alone is not None else tuple(weights)
    absent = [
        each.name for each in chosen if each.name not in places and not (models_dir / each.name).is_dir()
    ]
    if absent:
        raise WeightsError(
            f"{carried}: found no {', '.join(absent)}; expected directories or tars (NAME or NAME_infer.tar) there",
            hint="choose single sets with --role, or carry the others too",
        )

    def obtain(each: WeightSet, partial: Path, locked: LockedSet | None) -> Obtained:
        del locked  # compared once the files are here
        place = places.get(each.name)
        if place is None:
            raise WeightsError(f"{carried}: found no {each.name} to replace the one that is here")
        return _copied(each, place, partial, report)

    return tuple(
        installed(each, models_dir, report, replace=replace, obtain=obtain, how=How.COPIED) for each in chosen
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
    if named is not None and not setfiles.lacking(carried, named):
        return named
    fitting = [each for each in weights if not setfiles.lacking(carried, each)]
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
                setfiles.locate(found, each)
            places[each.name] = found
    return places


def _copied(weights: WeightSet, place: Path, partial: Path, report: Reporter) -> Obtained:
    tree = partial / "tree"
    remove(tree)
    if place.is_dir():
        source = setfiles.locate(place, weights)
        setfiles.copy_tree(source, tree, label=f"copy {weights.name}", report=report)
        return Obtained(tree=tree, kind=brought(tree))
    archive = LockedFile(size=place.stat().st_size, sha256=sha256_of(place))
    unpack(place, tree, report=report)
    return Obtained(tree=tree, kind=brought(setfiles.locate(tree, weights)), archive=archive)
