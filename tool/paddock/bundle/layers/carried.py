"""The layers that a bundle carries whole, as a source of raw layers.

They make a full bundle usable as the base of a delta where no engine has its images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from paddock.bundle.format.frames import FramedBlob
from paddock.bundle.format.manifest import Carried, Compression
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError


class FramedLayer:
    """A `RawLayer` that is decompressed from its blob, whose frames a delta may copy as they are.

    `digest` is the digest of `blob`, `compression` how its frames were made, None where that is not known.
    """

    def __init__(self, diff_id: str, digest: str, blob: FramedBlob, compression: Compression | None) -> None:
        self.diff_id, self.digest, self.blob, self.compression = diff_id, digest, blob, compression
        self.size = blob.raw_size
        self.read_at = blob.read_at
        self.stream = blob.stream


class BundleLayers:
    """A `LayerSource` over an open bundle."""

    def __init__(self, bundle: OpenBundle) -> None:
        self._bundle = bundle
        self._layers = {
            layer.diff_id: layer for layer in bundle.manifest.layers if layer.carried is Carried.WHOLE
        }

    def holds(self, diff_id: str) -> bool:
        """Whether the bundle carries the layer whole."""
        return diff_id in self._layers

    @contextmanager
    def open(self, diff_id: str) -> Iterator[FramedLayer]:
        """The layer. Raises BundleError when the bundle does not carry it whole."""
        manifest = self._bundle.manifest
        if diff_id not in self._layers:
            raise BundleError(f"bundle {manifest.id}: does not carry the layer {diff_id} whole")
        layer = self._layers[diff_id]
        read = self._bundle.open_blob(layer.digest).read_at
        where = f"the blob {layer.digest}"
        blob = FramedBlob(read, size=layer.size, raw_size=layer.raw_size, where=where)
        yield FramedLayer(diff_id, layer.digest, blob, manifest.compression)
