"""Applying recipes: the layer and its blob come out to the byte, or it is noticed that they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from layer_files import LayerFiles, MemoryLayer
from paddock.bundle.delta.assembling import open_recipe
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.layers.carried import FramedLayer
from paddock.bundle.layers.framewriter import CompressedFrame, FrameCompressor
from paddock.bundle.layers.rawlayer import RawLayer
from paddock.errors import BundleError
from samples.deltas import AFTER, BEFORE, SYSTEM, delta, receipt
from samples.recipes import BASE, LIBRARY, OWN, PACKAGES, blob_of, framed, opened, tar, written
from small_images import digest


class CountingCompressor(FrameCompressor):
    """Counts the frames that had to be compressed."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = 0

    def compress(self, frames: Iterable[bytes | CompressedFrame]) -> Iterator[bytes]:
        return super().compress(self._counted(frames))

    def _counted(self, frames: Iterable[bytes | CompressedFrame]) -> Iterator[bytes | CompressedFrame]:
        for frame in frames:
            self.raw += not isinstance(frame, CompressedFrame)
            yield frame


@pytest.mark.parametrize(
    ("base", "at_the_site", "taken"),
    [
        (framed(BASE), framed(BASE, None), True),  # the recipe names the blob
        (BASE, framed(BASE), True),  # the site knows how it was made
        (BASE, framed(BASE, None), False),
        (BASE, framed(BASE, replace(OWN, level=4)), False),
    ],
)
def test_frames_of_the_base_blob_are_taken_as_they_are(
    base: RawLayer, at_the_site: FramedLayer, taken: bool
) -> None:
    new = MemoryLayer(tar([*PACKAGES[:150], ("site/lib.so", LIBRARY, 7)]))
    data, _ = written(new, base)
    blob = blob_of(new)
    compressor = CountingCompressor()
    with compressor:
        assert b"".join(opened(data, at_the_site).blob(digest(blob), compressor)) == blob
        frames = len(opened(data, at_the_site).recipe.frames)
        assert (compressor.raw < frames / 2) if taken else (compressor.raw == frames)


def test_a_wrong_base_is_noticed() -> None:
    new = MemoryLayer(tar([*PACKAGES, ("site/lib.so", LIBRARY + b"more", 7)]))
    data, _ = written(new, BASE)
    wrong = MemoryLayer(BASE.data[:100_000] + b"?" + BASE.data[100_001:])
    wrong.diff_id = BASE.diff_id
    with pytest.raises(BundleError, match="the recipe: found sha256:"):
        list(opened(data, wrong).stream())
    with pytest.raises(BundleError, match="the recipe: found sha256:"), FrameCompressor() as compressor:
        list(opened(data, wrong).blob(digest(blob_of(new)), compressor))


def test_a_layer_that_reads_differently_is_noticed() -> None:
    lying = MemoryLayer(BASE.data)
    lying.diff_id = digest(b"")
    with pytest.raises(BundleError, match="base layer sha256:"):
        written(BASE, lying)
    with pytest.raises(BundleError, match="layer sha256:"):
        written(lying, BASE)


def test_a_recipe_for_another_layer_is_refused(tmp_path: Path, workshop: LayerFiles) -> None:
    base = receipt(tmp_path / "receipt.json", SYSTEM, BEFORE)
    made = delta(tmp_path / "delta", workshop, base, SYSTEM, AFTER)
    layer = replace(made.layer(digest(AFTER)), diff_id=digest(b"another"))
    with OpenBundle.open([tmp_path / "delta"]) as bundle:
        with pytest.raises(BundleError, match="makes layer"), open_recipe(bundle, layer, workshop):
            pass
        layer = next(layer for layer in made.layers if layer.recipe is None)
        with pytest.raises(BundleError, match="has no recipe for it"), open_recipe(bundle, layer, workshop):
            pass
