"""The bytes of a bundle's images as an engine is sent them, whichever way the bundle carries each layer."""

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
    """A `loading.Content` over an open bundle, and the `LayerSource` of the layers that it brings.

    `sources` have the layers that a delta is made on.
    """

    def __init__(self, bundle: OpenBundle, sources: Sequence[LayerSource]) -> None:
        self._bundle = bundle
        self._whole = BundleLayers(bundle)
        self._sources = AnyLayers((self._whole, *sources))
        self._made = {each.diff_id: each for each in bundle.manifest.layers if each.carried is Carried.RECIPE}

    def small(self, digest: str, limit: int) -> bytes:
        """A small blob, checked against its digest."""
        return self._bundle.open_blob(digest).read(limit)

    def blob(self, layer: Layer) -> Iterator[bytes]:
        """A layer's blob, in pieces; a wrong byte is found at its end at the latest."""
        if layer.carried is Carried.WHOLE:
            yield from self._bundle.open_blob(layer.digest).stream()
            return
        with FrameCompressor(self._bundle.manifest.compression.level) as compressor:
            yield from self._remade(layer, compressor)

    def _remade(self, layer: Layer, compressor: FrameCompressor) -> Iterator[bytes]:
        """The same for a layer that is not carried whole."""
        if layer.carried is Carried.RECIPE:
            with open_recipe(self._bundle, layer, self._sources) as assembly:
                yield from assembly.blob(layer.digest, compressor)
        else:
            with self._sources.open(layer.diff_id) as found:
                where, hint = f"layer {layer.diff_id}, compressed again", "bring a full bundle"
                frames: Iterator[bytes]
                if isinstance(found, FramedLayer) and found.digest == layer.digest:
                    frames = map(found.blob.compressed, found.blob.frames)
                else:
                    frames = compressor.compressed(cut.frames(found.stream()))
                yield from checked(frames, layer.digest, where=where, hint=hint)

    def raw(self, layer: Layer) -> Iterator[bytes]:
        """A layer's tar, in pieces; the engine compares it with its diff id."""
        source = self if self.holds(layer.diff_id) else self._sources
        with source.open(layer.diff_id) as found:
            yield from found.stream()

    def read_at_once(self, layer: Layer) -> Mapping[str, int]:
        """The layers that are open together while this one is made or taken over; raw sizes by diff id."""
        if layer.carried is Carried.RECIPE:
            return {each.diff_id: each.raw_size for each in recipe_of(self._bundle, layer).bases}
        return {layer.diff_id: layer.raw_size} if layer.carried is Carried.BASE else {}

    def holds(self, diff_id: str) -> bool:
        """Whether the bundle brings the layer, whole or by a recipe."""
        return diff_id in self._made or self._whole.holds(diff_id)

    @contextmanager
    def open(self, diff_id: str) -> Iterator[RawLayer]:
        """A layer that the bundle brings. One that is made can be read from its start only, and costs its
        making.
        """
        layer = self._made.get(diff_id)
        if layer is None:
            with self._whole.open(diff_id) as whole:
                yield whole
        else:
            with open_recipe(self._bundle, layer, self._sources) as assembly:
                yield MadeLayer(assembly)


class MadeLayer:
    """A `RawLayer` that a recipe makes. `read_at` makes it up to there: it is for the beginning only."""

    def __init__(self, assembly: Assembly) -> None:
        self.diff_id, self.size = assembly.recipe.diff_id, assembly.recipe.raw_size
        self.stream = assembly.stream

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises BundleError where the layer has none."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise BundleError(
                f"layer {self.diff_id}: found {self.size} bytes, expected some up to {offset + length}"
            )
        found = bytearray()
        for piece in self.stream():
            found += piece
            if len(found) >= offset + length:
                break
        return bytes(found[offset : offset + length])
