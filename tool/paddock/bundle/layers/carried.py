"""The layers that a bundle carries whole, as raw layers: a full bundle is the base of a delta without any
engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from paddock.bundle.format.frames import FramedBlob
from paddock.bundle.format.manifest import Carried, Compression
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError


class FramedLayer:
    """A `RawLayer` whose bytes come out of the frames of the blob `digest`; `blob` is for who wants the
    frames.

    `compression` is how they were made; None where nobody here knows.
    """

    def __init__(self, diff_id: str, digest: str, blob: FramedBlob, compression: Compression | None) -> None:
        self.diff_id, self.digest, self.blob, self.compression = diff_id, digest, blob, compression
        self.size = blob.raw_size
        self.read_at = blob.read_at
        self.stream = blob.stream


class BundleLayers:
    """The `LayerSource` over an open bundle."""

    def __init__(self, bundle: OpenBundle) -> None:
        self._bundle = bundle
        self._layers = {
            each.diff_id: each for each in bundle.manifest.layers if each.carried is Carried.WHOLE
        }

    def holds(self, diff_id: str) -> bool:
        """Whether the bundle carries the layer whole."""
        return diff_id in self._layers

    @contextmanager
    def open(self, diff_id: str) -> Iterator[FramedLayer]:
        """The layer. Raises BundleError when the bundle does not carry it whole."""
        if diff_id not in self._layers:
            raise BundleError(f"bundle {self._bundle.manifest.id}: does not carry the layer {diff_id} whole")
        layer = self._layers[diff_id]
        blob = self._bundle.open_blob(layer.digest)
        yield FramedLayer(
            diff_id,
            layer.digest,
            FramedBlob(
                blob.read_at, size=layer.size, raw_size=layer.raw_size, where=f"the blob {layer.digest}"
            ),
            self._bundle.manifest.compression,
        )
