"""The figures of bundles: export, size, verify, import into both stores, deltas, memory.

docs/guides/performance.md has the goals. A benchmark fails when a program failed or when an import did not
give the same layers; a missed goal is printed and written.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from programs import PADDOCK
from site_engine import SiteEngine, site_engine

from ..figures import Book, Figure, Goal
from . import program, samples
from .conftest import Exported, export
from .program import Cost
from .samples import Samples, Say

MB = 1e6
ROUNDS = 3  # of a full import and its peer, in turn: machines change their speed within minutes
SITE_DISK = 24 << 30  # bytes of the site's file system; sparse
STORES = ("classic", "containerd")


def at_most(limit: float) -> Goal:
    return Goal(bound="at most", limit=limit)


def ratio(name: str, ours: Cost, theirs: Cost, goal: Goal | None, note: str = "") -> Figure:
    """Wall times side by side."""
    return medians(name, [ours], [theirs], goal, note)


def medians(
    name: str, ours: Sequence[Cost], theirs: Sequence[Cost], goal: Goal | None, note: str = ""
) -> Figure:
    """The same of several rounds."""
    took, they_took = ([cost.seconds for cost in costs] for costs in (ours, theirs))
    value = statistics.median(took) / statistics.median(they_took)
    return Figure(name=name, unit="s", ours=took, theirs=they_took, value=value, goal=goal, note=note)


def sizes(name: str, ours: float, theirs: float, goal: Goal | None, note: str = "") -> Figure:
    return Figure(
        name=name,
        unit="MB",
        ours=[ours / MB],
        theirs=[theirs / MB],
        value=ours / theirs,
        goal=goal,
        note=note,
    )


@pytest.fixture(scope="session")
def archive(images: Samples, space: Path, say: Say) -> tuple[Path, Cost]:
    """Both images as `docker save | zstd -3 -T0` writes them."""
    say("docker save | zstd")
    path = space / "both.tar.zst"
    return path, program.shell(f"docker save {' '.join(images.pair)} | zstd -q -3 -T0 -o {path}")


def test_export(
    book: Book, full: Exported, archive: tuple[Path, Cost], images: Samples, space: Path, say: Say
) -> None:
    path, zstd = archive
    book.add(ratio("full export against docker save | zstd -3 -T0", full.cost, zstd, at_most(1.1)))
    say("docker save | gzip")
    gzip = program.shell(f"docker save {' '.join(images.pair)} | gzip > {space / 'both.tar.gz'}")
    (space / "both.tar.gz").unlink()
    book.add(ratio("full export against docker save | gzip", full.cost, gzip, at_most(0.4)))
    say("skopeo copy to an OCI archive")
    skopeo = program.shell(
        " && ".join(
            f"skopeo copy -q docker-daemon:{reference} oci-archive:{space / f'skopeo-{number}.tar'}:x"
            for number, reference in enumerate(images.pair)
        )
    )
    book.add(
        ratio(
            "full export against skopeo copy to OCI archives", full.cost, skopeo, at_most(1.0), "gzip layers"
        )
    )
    for written in space.glob("skopeo-*.tar"):
        written.unlink()
    book.add(
        sizes("full bundle against docker save | zstd -3", full.size, path.stat().st_size, at_most(1.03))
    )
    book.add(_memory("export", full.cost))


def test_shared_weights(book: Book, images: Samples, space: Path, say: Say) -> None:
    """Two images with the same weights, against one archive for each."""
    pair, total, path = (images.heavy, images.api), 0, space / "one.tar.zst"
    for reference in pair:
        say(f"docker save {reference} | zstd")
        program.shell(f"docker save {reference} | zstd -q -3 -T0 -o {path}")
        total += path.stat().st_size
        path.unlink()
    both = export(space / "both", pair, say=say).size
    shutil.rmtree(space / "both")
    what = "bundle of two images with the same weights, against two saves"
    book.add(sizes(what, both, total, at_most(0.6), f"weights of {samples.WEIGHTS_MEGABYTES} MiB in both"))


def test_verify(book: Book, full: Exported) -> None:
    _forget(*full.parts)
    ours = program.run([*PADDOCK, "verify", full.folder])
    _forget(*full.parts)
    theirs = program.shell(f"cd {full.folder} && sha256sum --quiet --check SHA256SUMS")
    book.add(ratio("verify against sha256sum of the same files", ours, theirs, at_most(1.5)))
    book.add(_memory("verify", ours))


@pytest.mark.parametrize("store", STORES)
def test_import_and_deltas(
    book: Book,
    store: str,
    full: Exported,
    archive: tuple[Path, Cost],
    images: Samples,
    deltas: Mapping[str, Exported],
    whole: Mapping[str, Exported],
    say: Say,
) -> None:
    path, _ = archive
    ours, theirs = [], []
    for number in range(ROUNDS - 1):  # whoever was second is first in the next round
        if number % 2 == 0:
            theirs.append(_load(store, path, images, say))
        with site_engine(store, size=SITE_DISK) as site:
            ours.append(_import(site, full, say))
        if number % 2 == 1:
            theirs.append(_load(store, path, images, say))
    theirs.append(_load(store, path, images, say))
    with site_engine(store, size=SITE_DISK) as site:
        ours.append(_import(site, full, say))
        _same_layers(site, images.pair)
        book.add(medians(f"import against zstd -d | docker load, {store}", ours, theirs, at_most(1.0)))
        goal = at_most(0.65) if store == "classic" else None
        last, theirs_last = ours[-1], theirs[-1]
        book.add(sizes(f"peak extra disk of the import, {store}", last.disk, theirs_last.disk, goal))
        book.add(_memory(f"import, {store}", last))
        again = _import(site, full, say)
        book.add(ratio(f"the same import again, {store}", again, last, None))
        for name, bundle in whole.items():
            with site_engine(store, size=SITE_DISK) as empty:
                entire = _import(empty, bundle, say)
            delta = _import(site, deltas[name], say)
            _same_layers(site, (getattr(images, name),))
            goal = at_most(0.6 if store == "classic" else 0.3)
            book.add(ratio(f"delta import against a full import, {name}, {store}", delta, entire, goal))
            book.add(_memory(f"delta import, {name}, {store}", delta))


@pytest.fixture(scope="session")
def deltas(images: Samples, full: Exported, space: Path, say: Say) -> Mapping[str, Exported]:
    """The server after a rebuild, for a site that has it as it was."""
    return {
        name: export(space / f"delta-{name}", (getattr(images, name),), "--base", full.folder, say=say)
        for name in ("patched", "minor")
    }


@pytest.fixture(scope="session")
def whole(images: Samples, space: Path, say: Say) -> Mapping[str, Exported]:
    """The same images as full bundles."""
    return {
        name: export(space / f"whole-{name}", (getattr(images, name),), say=say)
        for name in ("patched", "minor")
    }


@pytest.fixture(scope="session")
def one(images: Samples, space: Path, say: Say) -> Exported:
    return export(space / "one", (images.one,), say=say)


@pytest.mark.parametrize(
    ("name", "what", "limit"),
    [
        ("patched", "a patch release of one pure-Python package", 0.001),
        ("minor", "a minor release of vllm", 0.07),
        ("touched", "a rebuild that changed only times", 0.001),
    ],
)
def test_delta_size(
    book: Book, name: str, what: str, limit: float, one: Exported, images: Samples, space: Path, say: Say
) -> None:
    """What is carried, against the one layer that changed as the full bundle has it."""
    reference = getattr(images, f"one_{name}")
    delta = export(space / f"delta-one-{name}", (reference,), "--base", one.folder, say=say)
    book.add(sizes(f"delta: {what}", delta.size, _packages_layer(one, images.one), at_most(limit)))
    book.add(_memory(f"delta export, {name}", delta.cost))


def _forget(*paths: Path) -> None:
    """Have files read from the disk again, as from a medium that was just put in."""
    os.sync()
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _packages_layer(full: Exported, reference: str) -> int:
    manifest = json.loads((full.folder / "bundle.json").read_bytes())
    last = samples.layers(reference)[-1]
    return next(int(layer["size"]) for layer in manifest["layers"] if layer["diff_id"] == last)


def _import(site: SiteEngine, bundle: Exported, say: Say) -> Cost:
    say(f"paddock import {bundle.folder.name}, {site.store}")
    _forget(*bundle.parts)
    return program.run(
        [*PADDOCK, "import", bundle.folder, "--unsigned"],
        environment={**site.environment(), "PADDOCK_STATE": str(site.folder / "state")},
        watched=site.folder,
    )


def _load(store: str, path: Path, images: Samples, say: Say) -> Cost:
    """The peer's import, into an engine of its own."""
    say(f"zstd -d | docker load, {store}")
    with site_engine(store, size=SITE_DISK) as site:
        _forget(path)
        cost = program.shell(
            f"zstd -q -d -c {path} | docker load", environment=site.environment(), watched=site.folder
        )
        _same_layers(site, images.pair)
    return cost


def _same_layers(site: SiteEngine, references: tuple[str, ...]) -> None:
    for reference in references:
        same = site.layers(reference) == samples.layers(reference)
        assert same, f"{reference}: other layers than in the workshop"


def _memory(what: str, cost: Cost) -> Figure:
    megabytes = cost.memory / MB
    return Figure(
        name=f"peak memory, {what}",
        unit="MB",
        ours=[megabytes],
        value=megabytes,
        value_unit="MB",
        goal=at_most(300),
    )
