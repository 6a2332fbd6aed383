"""Carrying weight sets in by hand: a directory of sets or of upstream's tars, one set, or one tar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import WeightsError
from paddock.matrix.records import WeightSet
from paddock.report import Reporter
from paddock.weights import setfiles
from paddock.weights.installing import How, Obtained, Outcome, Request, install, remove
from paddock.weights.lockfile import LockedFile
from paddock.weights.markers import kind_by_marker
from paddock.weights.published import sha256_of
from paddock.weights.untar import unpack


def carry(
    weights: Sequence[WeightSet], *, carried: Path, models_dir: Path, report: Reporter, replace: bool = False
) -> tuple[Outcome, ...]:
    """Copy sets from `carried` into `models_dir`.

    `carried` is a directory of sets or of upstream's tars, one set, or one tar; in the latter two cases only
    that set is taken. Nothing is copied unless every set is there or already here. Raises WeightsError for
    sets that are absent, incomplete or not what the lock file says.
    """
    alone = _alone(weights, carried, report)
    places = {alone.name: carried} if alone is not None else _places(weights, carried)
    chosen = (alone,) if alone is not None else tuple(weights)
    _require_all(chosen, places, carried=carried, models_dir=models_dir)
    supplier = FromDirectory(carried=carried, places=places, report=report)
    return tuple(
        install(weight_set, supplier, models_dir=models_dir, report=report, replace=replace)
        for weight_set in chosen
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FromDirectory:
    """The supplier of sets that were carried here; `places` has the directory or tar of each by its name."""

    carried: Path
    places: Mapping[str, Path]
    report: Reporter

    @property
    def how(self) -> How:
        return How.COPIED

    def obtain(self, request: Request) -> Obtained:
        weights = request.weights
        place = self.places.get(weights.name)
        if place is None:
            raise WeightsError(f"{self.carried}: found no {weights.name} to replace the one that is here")
        tree = request.partial / "tree"
        remove(tree)
        if place.is_dir():
            source = setfiles.locate(place, weights)
            setfiles.copy_tree(source, tree, label=f"copy {weights.name}", report=self.report)
            return Obtained(tree=tree, kind=kind_by_marker(tree))
        archive = LockedFile(size=place.stat().st_size, sha256=sha256_of(place))
        unpack(place, tree, report=self.report)
        return Obtained(tree=tree, kind=kind_by_marker(setfiles.locate(tree, weights)), archive=archive)


def _require_all(
    chosen: Sequence[WeightSet], places: Mapping[str, Path], *, carried: Path, models_dir: Path
) -> None:
    absent = [
        weight_set.name
        for weight_set in chosen
        if weight_set.name not in places and not (models_dir / weight_set.name).is_dir()
    ]
    if absent:
        raise WeightsError(
            f"{carried}: found no {', '.join(absent)}; "
            "expected directories or tars (NAME or NAME_infer.tar) there",
            hint="choose single sets with --role, or carry the others too",
        )


def _alone(weights: Sequence[WeightSet], carried: Path, report: Reporter) -> WeightSet | None:
    """Return the set that `carried` itself is, by its name or by its files."""
    if not carried.exists():
        raise WeightsError(f"{carried}: is not there, expected a directory or tar of weights")
    stem = carried.name.removesuffix(".tar").removesuffix("_infer")
    named = next((weight_set for weight_set in weights if weight_set.name == stem), None)
    if carried.is_file():
        if named is None:
            names = ", ".join(f"{weight_set.name}_infer.tar" for weight_set in weights)
            raise WeightsError(f"{carried}: found a file of another name, expected one of {names}")
        return named
    if named is not None and not setfiles.lacking(carried, named):
        return named
    fitting = [weight_set for weight_set in weights if not setfiles.lacking(carried, weight_set)]
    if len(fitting) != 1:
        return None
    report.warn(f"{carried}: taken as {fitting[0].name}, which it fits by its files but not by its name")
    return fitting[0]


def _places(weights: Sequence[WeightSet], carried: Path) -> dict[str, Path]:
    """Return where each set lies; a directory is checked now, before anything is copied."""
    places: dict[str, Path] = {}
    for weight_set in weights:
        stem = weight_set.name
        candidates = [carried / name for name in (stem, f"{stem}_infer", f"{stem}_infer.tar", f"{stem}.tar")]
        place = next((candidate for candidate in candidates if candidate.exists()), None)
        if place is None:
            continue
        if place.is_dir():
            setfiles.locate(place, weight_set)
        places[stem] = place
    return places
