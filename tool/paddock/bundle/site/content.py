"""The bytes of a bundle's images as they are sent to an engine, however the bundle carries each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from paddock.bundle.delta.assembling import Assembly, open_recipe, recipe_of
from paddock.bundle.format.manifest import Carried, Layer
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.layers import cut
from paddock.bundle.layers.carried import BundleLayers, FramedLayer
from paddock.bundle.layers.framewriter import FrameCompressor
from paddock.bundle.layers.rawlayer import AnyLayers, LayerSource, RawLayer, checked
from paddock.errors import BundleError


class BundleContent:
    """The `loading.Content` of an open bundle, and the `LayerSource` of the layers that it brings.

    `bases` hold the layers that a delta is made on.
    """

    def __init__(self, bundle: OpenBundle, bases: Sequence[LayerSource]) -> None:
        self._bundle = bundle
        self._whole = BundleLayers(bundle)
        self._sources = AnyLayers((self._whole, *bases))
        layers = bundle.manifest.layers
        self._recipes = {layer.diff_id: layer for layer in layers if layer.carried is Carried.RECIPE}

    def small(self, digest: str, limit: int) -> bytes:
        """A small blob, checked against its digest."""
        return self._bundle.open_blob(digest).read(limit)

    def blob(self, layer: Layer) -> Iterator[bytes]:
        """A layer's blob, in pieces. Raises BundleError after the last piece if a byte was wrong."""
        if layer.carried is Carried.WHOLE:
            yield from self._bundle.open_blob(layer.digest).stream()
            return
        with FrameCompressor(self._bundle.manifest.compression.level) as compressor:
            if layer.carried is Carried.RECIPE:
                with open_recipe(self._bundle, layer, self._sources) as assembly:
                    yield from assembly.blob(layer.digest, compressor)
            else:
                yield from self._base_blob(layer, compressor)

    def _base_blob(self, layer: Layer, compressor: FrameCompressor) -> Iterator[bytes]:
        """The blob of a layer that the bundle leaves out: as another bundle has it, or compressed again."""
        with self._sources.open(layer.diff_id) as base:
            frames: Iterator[bytes]
            if isinstance(base, FramedLayer) and base.digest == layer.digest:
                frames = map(base.blob.compressed, base.blob.frames)
            else:
                frames = compressor.compress(cut.frames(base.stream()))
            where = f"layer {layer.diff_id}, compressed again"
            yield from checked(frames, layer.digest, where=where, hint="bring a full bundle")

    def raw(self, layer: Layer) -> Iterator[bytes]:
        """A layer's tar, in pieces; the engine compares it with its diff id."""
        source = self if self.holds(layer.diff_id) else self._sources
        with source.open(layer.diff_id) as opened:
            yield from opened.stream()

    def read_together(self, layer: Layer) -> Mapping[str, int]:
        """The base layers that are open at the same time while a layer is made; raw sizes by diff id."""
        if layer.carried is Carried.RECIPE:
            return {base.diff_id: base.raw_size for base in recipe_of(self._bundle, layer).bases}
        return {layer.diff_id: layer.raw_size} if layer.carried is Carried.BASE else {}

    def holds(self, diff_id: str) -> bool:
        """Whether the bundle brings the layer, whole or as a recipe."""
        return diff_id in self._recipes or self._whole.holds(diff_id)

    @contextmanager
    def open(self, diff_id: str) -> Iterator[RawLayer]:
        """A layer that the bundle brings; see `MadeLayer` for what one that is made can do."""
        layer = self._recipes.get(diff_id)
        if layer is None:
            with self._whole.open(diff_id) as whole:
                yield whole
        else:
            with open_recipe(self._bundle, layer, self._sources) as assembly:
                yield MadeLayer(assembly)


class MadeLayer:
    """A `RawLayer` that a recipe makes. `read_at` makes everything up to there: use it near the start."""

    def __init__(self, assembly: Assembly) -> None:
        self.diff_id, self.size = assembly.recipe.diff_id, assembly.recipe.raw_size
        self.stream = assembly.stream

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises BundleError where the layer has none."""
        end = offset + length
        if offset < 0 or length < 0 or end > self.size:
            raise BundleError(f"layer {self.diff_id}: found {self.size} bytes, expected some up to {end}")
        made = bytearray()
        for piece in self.stream():
            made += piece
            if len(made) >= end:
                break
        return bytes(made[offset:end])
