"""The bytes of a bundle's images as an engine is sent them, whichever way the bundle carries each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from paddock.bundle import cut
from paddock.bundle.assemble import open_recipe
from paddock.bundle.bundlesource import BundleLayers
from paddock.bundle.framewriter import FrameCompressor
from paddock.bundle.manifest import Carried, Layer
from paddock.bundle.parts import Bundle
from paddock.bundle.rawlayer import LayerSource, RawLayer, checked
from paddock.errors import BundleError


class BundleContent:
    """A `loading.Content` over an open bundle; `sources` have the layers that a delta is made on."""

    def __init__(self, bundle: Bundle, sources: Sequence[LayerSource]) -> None:
        self._bundle = bundle
        self._sources = AnyLayers((BundleLayers(bundle), *sources))

    def small(self, digest: str, limit: int) -> bytes:
        """A small blob, checked against its digest."""
        return self._bundle.open_blob(digest).read(limit)

    def blob(self, layer: Layer) -> Iterator[bytes]:
        """A layer's blob, in pieces; a wrong byte is found at its end at the latest."""
        if layer.carried is Carried.WHOLE:
            yield from self._bundle.open_blob(layer.digest).stream()
        elif layer.carried is Carried.RECIPE:
            with open_recipe(self._bundle, layer, self._sources) as assembly, FrameCompressor() as compressor:
                yield from assembly.blob(layer.digest, compressor)
        else:
            with self._sources.open(layer.diff_id) as found, FrameCompressor() as compressor:
                frames = compressor.compressed(cut.frames(found.stream()))
                where = f"layer {layer.diff_id}, compressed again"
                yield from checked(frames, layer.digest, where=where, hint="bring a full bundle")

    def raw(self, layer: Layer) -> Iterator[bytes]:
        """A layer's tar, in pieces; the engine compares it with its diff id."""
        if layer.carried is Carried.RECIPE:
            with open_recipe(self._bundle, layer, self._sources) as assembly:
                yield from assembly.stream()
        else:
            with self._sources.open(layer.diff_id) as found:
                yield from found.stream()


class AnyLayers:
    """The `LayerSource` over several others; the first that has a layer gives it."""

    def __init__(self, sources: Sequence[LayerSource]) -> None:
        self._sources = sources

    def holds(self, diff_id: str) -> bool:
        """Whether one of them has the layer."""
        return any(each.holds(diff_id) for each in self._sources)

    def open(self, diff_id: str) -> AbstractContextManager[RawLayer]:
        """The layer. Raises BundleError when none of them has it."""
        for each in self._sources:
            if each.holds(diff_id):
                return each.open(diff_id)
        raise BundleError(f"layer {diff_id}: is not carried, and nothing here has it")
