"""The receipt of a site: what its engine holds, small enough to carry back, the base of the next delta.

It is canonical JSON, as bundle.json is. A delta for the containerd store must be made on blobs that are
really there, whereas for the classic store the layers alone count: so a layer's blob is named only if the
store has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from paddock import __version__
from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.receipt import FORMAT, HeldBundle, HeldImage, HeldLayer, Receipt
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.store import EngineImage, EngineStore
from paddock.bundle.site.state import Installed
from paddock.engine import docker
from paddock.stack import hostcards


def of_site(client: docker.DockerClient, store: EngineStore, installed: Sequence[Installed]) -> Receipt:
    """What the engine holds now."""
    images = image_store.images(client)
    free = store.free()
    return Receipt(
        format=FORMAT,
        tool=__version__,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        platform=store.platform,
        store=store.kind.value,
        engine=store.version,
        driver=hostcards.driver(),
        free=-1 if free is None else free,
        bundles=tuple(_bundle(record) for record in installed),
        images=tuple(_image(image) for image in images if image.layers),
        layers=_layers(images, store.content()),
    )


def _bundle(installed: Installed) -> HeldBundle:
    return HeldBundle(
        id=installed.bundle, sequence=installed.sequence, time=installed.time, stack=installed.stack
    )


def _image(image: EngineImage) -> HeldImage:
    return HeldImage(
        id=image.id, references=image.references, layers=image.layers, chains=chain_ids(image.layers)
    )


def _layers(images: Sequence[EngineImage], content: Path | None) -> tuple[HeldLayer, ...]:
    """Each layer once, in the order of the diff ids, with its blob if the content store has it whole."""
    blobs: dict[str, str | None] = {}
    for image in images:
        whole = {} if content is None else _whole_blobs(content, image)
        for diff_id in image.layers:
            blobs[diff_id] = blobs.get(diff_id) or whole.get(diff_id)
    return tuple(HeldLayer(diff_id=diff_id, blob=blobs[diff_id]) for diff_id in sorted(blobs))


def _whole_blobs(content: Path, image: EngineImage) -> dict[str, str]:
    """The digests of an image's blobs that lie in the content store with their whole size, by diff id."""
    stored = image_store.stored_blobs(content, image.id, image.layers)
    if stored is None:
        return {}
    layers = zip(image.layers, stored.blobs, stored.sizes, strict=False)
    return {diff_id: digest for diff_id, digest, size in layers if _is_whole(content, digest, size)}


def _is_whole(content: Path, digest: str, size: int) -> bool:
    path = image_store.blob_file(content, digest)
    return path.is_file() and path.stat().st_size == size
