"""Which images and layers an engine already has, so that an import sends it only what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock.bundle.format.manifest import Carried, Layer, Manifest
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.savedlayers import gives_layers
from paddock.bundle.imagestore.store import EngineImage, EngineStore, Store
from paddock.engine import Release, docker

_ZSTD_SINCE = "23.0"  # moby pull request 41759


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """The ids that an engine has, and how it takes layers.

    `blobs` are digests that are known to be in the containerd store; the classic store has none.
    """

    kind: Store
    chains: frozenset[str]
    blobs: frozenset[str]
    images: frozenset[str]
    takes_zstd: bool  # layers as the bundle has them

    def as_blob(self, layer: Layer) -> bool:
        """Whether a layer is sent as its blob; otherwise as its tar.

        The classic store first writes down what it is sent, then unpacks it. So it gets a blob if that is far
        smaller, as with programs, and a tar if it is not, as with weights: the engine decompresses on the
        same core that unpacks.
        """
        if self.kind is Store.CONTAINERD:
            return True
        return self.takes_zstd and layer.carried is Carried.WHOLE and layer.size * 2 <= layer.raw_size

    def sent_size(self, layer: Layer) -> int:
        """Bytes that go to the engine for a layer."""
        return layer.size if self.as_blob(layer) else layer.raw_size


def take_inventory(
    client: docker.DockerClient, store: EngineStore, manifest: Manifest, known: Sequence[Manifest]
) -> Inventory:
    """What the engine has; of blobs, those of the layers in `manifest` and in `known`.

    `known` are bundles that were imported before. The blobs of a containerd store are looked up on its disk.
    If that cannot be seen, the layers of images from `known` bundles count, provided that the engine still
    gives them out.
    """
    images = image_store.images(client)
    blobs: frozenset[str] = frozenset()
    if store.kind is Store.CONTAINERD:
        content = store.content()
        if content is None:
            blobs = _blobs_given_out(client, images, known)
        else:
            layers = [layer for bundle in (manifest, *known) for layer in bundle.layers]
            blobs = _blobs_on_disk(content, layers)
    return Inventory(
        kind=store.kind,
        chains=image_store.chains_held(images),
        blobs=blobs,
        images=frozenset(image.id for image in images),
        takes_zstd=_takes_zstd(store),
    )


def _takes_zstd(store: EngineStore) -> bool:
    version, least = Release.of(store.version), Release.of(_ZSTD_SINCE)
    return version is None or least is None or version >= least


def _blobs_on_disk(content: Path, layers: Iterable[Layer]) -> frozenset[str]:
    """The blobs of these layers that lie in a content store with their whole size."""
    return frozenset(
        layer.digest for layer in layers if _size(image_store.blob_file(content, layer.digest)) == layer.size
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _blobs_given_out(
    client: docker.DockerClient, images: Collection[EngineImage], known: Iterable[Manifest]
) -> frozenset[str]:
    """The blobs of images from `known` bundles whose layers the engine gives out."""
    ids = {image.id for image in images}
    blobs: set[str] = set()
    try:
        for manifest in known:
            for image in manifest.images:
                if image.manifest in ids and gives_layers(client, image.manifest):
                    blobs.update(manifest.layer(diff_id).digest for diff_id in image.layers)
    except docker.errors.DockerException as failure:
        raise image_store.refused(failure) from failure
    return frozenset(blobs)
