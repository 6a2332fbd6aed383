"""The return ticket of a site: what its engine holds, small enough to carry back, the base of the next delta.

Canonical JSON as bundle.json is. A delta for the containerd store must be made on blobs that are really
there, for the classic store the layers alone count: so a layer's blob is named only where the store has it.
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
    return Receipt(
        format=FORMAT,
        tool=__version__,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        platform=store.platform,
        store=store.kind.value,
        engine=store.version,
        driver=hostcards.driver(),
        free=-1 if (free := store.free()) is None else free,
        bundles=tuple(
            HeldBundle(id=each.bundle, sequence=each.sequence, time=each.time, stack=each.stack)
            for each in installed
        ),
        images=tuple(_image(each) for each in images if each.layers),
        layers=_layers(images, store),
    )


def _image(image: EngineImage) -> HeldImage:
    return HeldImage(
        id=image.id, references=image.references, layers=image.layers, chains=chain_ids(image.layers)
    )


def _layers(images: Sequence[EngineImage], store: EngineStore) -> tuple[HeldLayer, ...]:
    """Each layer once, in order of diff id; with a blob where an image has it whole."""
    found: dict[str, str | None] = {}
    content = store.content()
    for image in images:
        blobs = image_store.stored_blobs(content, image.id, image.layers) if content else None
        for at, diff_id in enumerate(image.layers):
            here = content and blobs and _is_whole(content, blobs.blobs[at], blobs.sizes[at])
            found[diff_id] = found.get(diff_id) or (blobs.blobs[at] if here and blobs else None)
    return tuple(HeldLayer(diff_id=each, blob=found[each]) for each in sorted(found))


def _is_whole(content: Path, digest: str, size: int) -> bool:
    path = image_store.blob_file(content, digest)
    return path.is_file() and path.stat().st_size == size
