"""What an export will write: the bytes of each layer, and whether the disk has room for them.

The size of a blob is estimated from samples of the layer: its true size is known only once it is compressed.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from paddock import durable
from paddock.bundle.delta.making import Delta
from paddock.bundle.export.contents import Contents
from paddock.bundle.format.manifest import Carried
from paddock.bundle.layers import cut
from paddock.bundle.layers.framewriter import compress_frame
from paddock.bundle.layers.rawlayer import LayerSource, RawLayer
from paddock.report import Reporter

_SAMPLE = 1 << 20  # bytes
_SAMPLES = 16
_AT_LEAST = 0.85  # of an estimate: a disk with less room than that is refused


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLayer:
    """A layer of the `images`, and the bytes that it will take: an estimate if it is carried whole."""

    diff_id: str
    images: tuple[str, ...]
    raw_size: int
    size: int
    carried: Carried
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportPlan:
    """What is to be written. `files` are the bytes of everything but the layers."""

    layers: tuple[PlannedLayer, ...]
    files: int

    @property
    def size(self) -> int:
        """Bytes of the bundle, as far as they can be told."""
        return sum(layer.size for layer in self.layers) + self.files


def plan_export(
    contents: Contents, source: LayerSource, *, done: Container[str] = (), delta: Delta | None = None
) -> ExportPlan:
    """What an export of `contents` writes, without the layers in `done`. For a delta recipes are made."""
    layers = []
    for diff_id in contents.layers:
        if diff_id not in done:
            images = tuple(image.reference for image in contents.images if diff_id in image.layers)
            with source.open(diff_id) as layer:
                layers.append(_planned(layer, images, delta))
    return ExportPlan(layers=tuple(layers), files=sum(len(file.data) for file in contents.files))


def _planned(layer: RawLayer, images: tuple[str, ...], delta: Delta | None) -> PlannedLayer:
    if delta is not None and layer.diff_id in delta.site.layers:
        size, carried, reason = 0, Carried.BASE, "the site has it"
    else:
        size, carried, reason = _estimated(layer), Carried.WHOLE, ""
    planned = PlannedLayer(
        diff_id=layer.diff_id,
        images=images,
        raw_size=layer.size,
        size=size,
        carried=carried,
        reason=reason,
    )
    if delta is None or carried is Carried.BASE:
        return planned
    return _as_recipe(planned, layer, delta)


def _as_recipe(planned: PlannedLayer, layer: RawLayer, delta: Delta) -> PlannedLayer:
    """A layer carried as a recipe, if that is smaller than `planned`, the whole layer."""
    if not delta.has_bases():
        return replace(planned, reason="the site has no other layer to make it from")
    frames = array("Q", map(len, cut.frames(layer.stream())))
    with Path(os.devnull).open("wb") as nowhere:
        written = delta.recipe(layer, frames, nowhere, most=planned.size)
    if written is None:
        return replace(planned, reason="made from layers of the site it is no smaller")
    reason = f"{written.copied:,} bytes are in layers of the site, {written.new:,} are new"
    return replace(planned, size=written.size, carried=Carried.RECIPE, reason=reason)


def require_room(planned: ExportPlan, folder: Path) -> None:
    """Raise PreflightError when `folder` is sure to have too little room for the bundle."""
    durable.require_room(
        folder,
        math.ceil(planned.size * _AT_LEAST),
        f"a bundle of about {planned.size:,} bytes",
        hint="make room there, or name another directory",
    )


def warn_of_room(planned: ExportPlan, folder: Path, report: Reporter) -> None:
    """Warn when the disk has less room than a delta may take; in `planned` every layer is carried whole.

    What its recipes really take is known once they are made. Each is on the disk twice before it is in the
    parts.
    """
    free = durable.free_bytes(folder)
    most = planned.size + max((layer.size for layer in planned.layers), default=0)
    if free is not None and free < most:
        report.warn(
            f"{folder}: found {free:,} bytes free; this delta takes up to {most:,}, but little of it for"
            " layers that are like those of the site. If the disk gets full, the same command goes on once"
            " there is room."
        )


def _estimated(layer: RawLayer) -> int:
    """The size of a layer's blob, from samples spread over the layer."""
    step = max(_SAMPLE, layer.size // _SAMPLES)
    offsets = range(0, layer.size, step)
    samples = [layer.read_at(offset, min(_SAMPLE, layer.size - offset)) for offset in offsets]
    raw = sum(map(len, samples))
    compressed = sum(len(compress_frame(sample)) for sample in samples)
    return layer.size * compressed // raw if raw else 0
