"""What an export will write, before it does: bytes of each layer, and whether the disk has room for them.

The size of a blob is estimated from samples of the layer: what the whole comes to is known only once it is
compressed.
"""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from paddock.bundle.delta.making import Delta
from paddock.bundle.export.contents import Contents
from paddock.bundle.format.manifest import Carried
from paddock.bundle.layers import cut
from paddock.bundle.layers.framewriter import compress_frame
from paddock.bundle.layers.rawlayer import LayerSource, RawLayer
from paddock.errors import PreflightError
from paddock.report import Reporter

_SAMPLE = 1 << 20  # bytes
_SAMPLES = 16
_SURELY = 0.85  # of an estimate: a disk with less than that is refused


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLayer:
    """A layer of the `images`, and the bytes that it will take: an estimate for one that is carried whole."""

    diff_id: str
    images: tuple[str, ...]
    raw_size: int
    size: int
    carried: Carried
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be written; `files` is what everything but the layers takes."""

    layers: tuple[PlannedLayer, ...]
    files: int

    @property
    def size(self) -> int:
        """Bytes of the bundle, as far as they can be told."""
        return sum(each.size for each in self.layers) + self.files


def plan(
    contents: Contents, source: LayerSource, *, done: Container[str] = (), delta: Delta | None = None
) -> Plan:
    """What an export of `contents` writes, without the layers in `done`. Recipes of a delta are really made."""
    layers = []
    for diff_id in contents.layers:
        if diff_id not in done:
            with source.open(diff_id) as layer:
                size, carried, reason = _planned(layer, delta)
                layers.append(
                    PlannedLayer(
                        diff_id=diff_id,
                        images=tuple(each.reference for each in contents.images if diff_id in each.layers),
                        raw_size=layer.size,
                        size=size,
                        carried=carried,
                        reason=reason,
                    )
                )
    return Plan(layers=tuple(layers), files=sum(len(each.data) for each in contents.files))


def _planned(layer: RawLayer, delta: Delta | None) -> tuple[int, Carried, str]:
    """Bytes that a layer takes, how it is carried, and why so."""
    if delta is None:
        return _estimated(layer), Carried.WHOLE, ""
    if layer.diff_id in delta.site.layers:
        return 0, Carried.BASE, "the site has it"
    whole = _estimated(layer)
    if not delta.has_bases():
        return whole, Carried.WHOLE, "the site has no other layer to make it from"
    with Path(os.devnull).open("wb") as nowhere:
        written = delta.recipe(layer, array("Q", map(len, cut.frames(layer.stream()))), nowhere, most=whole)
    if written is None:
        return whole, Carried.WHOLE, "made from layers of the site it is no smaller"
    return (
        written.size,
        Carried.RECIPE,
        f"{written.copied:,} bytes are in layers of the site, {written.new:,} are new",
    )


def require_room(planned: Plan, folder: Path) -> None:
    """Raise PreflightError unless the disk of `folder`, or of what it is to be made in, has room for the
    bundle.
    """
    free = _free(folder)
    if free is not None and free < planned.size * _SURELY:
        raise PreflightError(
            f"{folder}: found {free:,} free bytes, expected about {planned.size:,} for the bundle",
            hint="make room there, or name another directory",
        )


def warn_of_room(planned: Plan, folder: Path, report: Reporter) -> None:
    """Say when the disk has less room than a delta may take: `planned` as if every layer were carried whole.

    What its recipes really take is known once they are made. Each lies there twice before it is in the parts.
    """
    free = _free(folder)
    most = planned.size + max((each.size for each in planned.layers), default=0)
    if free is not None and free < most:
        report.warn(
            f"{folder}: found {free:,} free bytes; this delta takes up to {most:,}, little of it where layers are like"
            " those of the site. Should the disk become full, the same command goes on once there is room"
        )


def _free(folder: Path) -> int | None:
    """Free bytes where a folder is, or is to be made; some file systems do not say, and have no bytes at all."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    disk = shutil.disk_usage(there)
    return disk.free if disk.total else None


def _estimated(layer: RawLayer) -> int:
    step = max(_SAMPLE, layer.size // _SAMPLES)
    samples = [layer.read_at(at, min(_SAMPLE, layer.size - at)) for at in range(0, layer.size, step)]
    taken = sum(map(len, samples))
    return layer.size * sum(len(compress_frame(each)) for each in samples) // taken if taken else 0
