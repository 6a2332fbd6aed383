"""The return ticket of a site: what its engine holds, small enough to carry back, the base of the next delta.

Canonical JSON as bundle.json is. A delta for the containerd store must be made on blobs that are really there, for the
classic store the layers alone count: so a layer's blob is named only where the store has it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import docker

from paddock import __version__, hostcards
from paddock.bundle import enginestore
from paddock.bundle.enginestore import EngineImage, EngineStore
from paddock.bundle.manifest import no_duplicates, read_record
from paddock.bundle.sitestate import Installed
from paddock.errors import BundleError

FORMAT = "paddock-receipt/1"
LARGEST = 16 << 20  # bytes of a receipt that is read at all


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldLayer:
    """A layer that the site has. `blob` is the digest of its blob in a containerd store; None in a classic one."""

    diff_id: str
    blob: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldImage:
    """An image of the site. `layers` and `chains` from the lowest to the top."""

    id: str
    references: tuple[str, ...]
    layers: tuple[str, ...]
    chains: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldBundle:
    """A bundle that the site imported."""

    id: str
    sequence: int
    time: str
    stack: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a site holds. `free` in bytes, -1 where the engine's disk cannot be seen."""

    format: str
    tool: str
    time: str
    platform: str
    store: str
    engine: str
    driver: str | None  # of the cards
    free: int
    bundles: tuple[HeldBundle, ...]
    images: tuple[HeldImage, ...]
    layers: tuple[HeldLayer, ...]

    def to_bytes(self) -> bytes:
        """The one way to write this receipt."""
        plain = dataclasses.asdict(self)
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def of_site(client: docker.DockerClient, store: EngineStore, installed: Sequence[Installed]) -> Receipt:
    """What the engine holds now."""
    images = enginestore.images(client)
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
            HeldBundle(id=each.bundle, sequence=each.sequence, time=each.time, stack=each.stack) for each in installed
        ),
        images=tuple(_image(each) for each in images if each.layers),
        layers=_layers(images, store),
    )


def parse(data: bytes, *, where: str) -> Receipt:
    """The receipt in a file. Raises BundleError for anything that is not one."""
    if len(data) > LARGEST:
        raise BundleError(f"{where}: found {len(data)} bytes, expected at most {LARGEST}")
    try:
        found = json.loads(data, object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as wrong:
        raise BundleError(f"{where}: is not JSON: {wrong}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BundleError(f"{where}: is not a receipt in the format {FORMAT!r}", hint="`paddock receipt` writes one")
    receipt = read_record(found, Receipt, where)
    for image in receipt.images:
        if image.chains != enginestore.chain_ids(image.layers):
            raise BundleError(f"{where}: {image.id}: its chain ids are not those of its layers")
    return receipt


def _image(image: EngineImage) -> HeldImage:
    return HeldImage(
        id=image.id, references=image.references, layers=image.layers, chains=enginestore.chain_ids(image.layers)
    )


def _layers(images: Sequence[EngineImage], store: EngineStore) -> tuple[HeldLayer, ...]:
    """Each layer once, in order of diff id; with a blob where an image has it whole."""
    found: dict[str, str | None] = {}
    content = store.content()
    for image in images:
        blobs = enginestore.stored_blobs(content, image.id, image.layers) if content else None
        for at, diff_id in enumerate(image.layers):
            here = content and blobs and _is_whole(content, blobs.blobs[at], blobs.sizes[at])
            found[diff_id] = found.get(diff_id) or (blobs.blobs[at] if here and blobs else None)
    return tuple(HeldLayer(diff_id=each, blob=found[each]) for each in sorted(found))


def _is_whole(content: Path, digest: str, size: int) -> bool:
    path = enginestore.blob_file(content, digest)
    return path.is_file() and path.stat().st_size == size
