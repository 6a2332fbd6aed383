"""The bytes of a bundle's images as an engine is sent them, whichever way the bundle carries each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paddock.bundle.bundlesource import BundleLayers
from paddock.bundle.manifest import Carried, Layer
from paddock.bundle.parts import Bundle
from paddock.bundle.rawlayer import LayerSource
from paddock.errors import BundleError


class BundleContent:
    """A `loading.Content` over an open bundle; `sources` have the layers that a delta is made on."""

    def __init__(self, bundle: Bundle, sources: Sequence[LayerSource]) -> None:
        self._bundle, self._sources = bundle, (BundleLayers(bundle), *sources)

    def small(self, digest: str, limit: int) -> bytes:
        """A small blob, checked against its digest."""
        return self._bundle.open_blob(digest).read(limit)

    def blob(self, layer: Layer) -> Iterator[bytes]:
        """A layer's blob, in pieces; a wrong byte is found at its end at the latest."""
        if layer.carried is Carried.WHOLE:
            return self._bundle.open_blob(layer.digest).stream()
        raise BundleError(f"layer {layer.diff_id}: its blob {layer.digest} is neither carried nor can it be made here")

    def raw(self, layer: Layer) -> Iterator[bytes]:
        """A layer's tar, in pieces; the engine compares it with its diff id."""
        source = next((each for each in self._sources if each.holds(layer.diff_id)), None)
        if source is None:
            raise BundleError(f"layer {layer.diff_id}: is not carried, and nothing here has it")
        with source.open(layer.diff_id) as found:
            yield from found.stream()
