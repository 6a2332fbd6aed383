"""What must be sent to an engine so that it gets the images of a bundle, in steps that it keeps one by one.

An engine forgets all of a `docker load` that fails. So each step is a load of its own: of an image with the
first layers of the wanted one, under a name of ours, carrying only layers that the engine does not have. Both
stores skip layers that they have: the classic one by chain id, the containerd one by the digest of the blob.
A killed import goes on after its last step. The classic store, which unpacks a whole archive before it reads
it, needs room for two steps.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from paddock.bundle.format import archive, digests
from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.manifest import Image, Layer, Manifest
from paddock.bundle.imagestore.store import EngineImage, Store
from paddock.bundle.imagestore.tags import STAGING
from paddock.bundle.site.inventory import Inventory

SMALL_STEP = 64 << 20  # raw bytes; smaller layers share a step up to this size
IMAGE_OVERHEAD = 1.02  # of raw bytes: files take whole blocks of a disk, names and folders take some
RESERVE = 64 << 20  # bytes that should stay free


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One load: the first `depth` layers of the bundle's image `number`; `carried` layers are sent."""

    number: int
    depth: int
    carried: tuple[Layer, ...]
    last: bool  # of this image

    @property
    def raw_size(self) -> int:
        return sum(layer.raw_size for layer in self.carried)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPlan:
    """The steps, and the bytes of free disk that the engine needs for them at the worst moment."""

    steps: tuple[Step, ...]
    disk: int

    @property
    def raw_size(self) -> int:
        """Bytes of the layers that are sent, uncompressed."""
        return sum(step.raw_size for step in self.steps)


def staging_name(bundle: str, number: int, depth: int) -> str:
    """What an image is called while it is being loaded."""
    return f"{STAGING}:{bundle}-{number}-{depth}"


def plan_load(manifest: Manifest, inventory: Inventory) -> LoadPlan:
    """The steps for a bundle; none for images that the engine has whole, under whatever name."""
    kind = inventory.kind
    chains, blobs, images = set(inventory.chains), set(inventory.blobs), set(inventory.images)
    steps: list[Step] = []
    for number, image in enumerate(manifest.images):
        missing = _missing(manifest, image, kind, chains, blobs)
        if missing or identity(image, kind) not in images:
            steps += _steps(manifest, number, missing)
        images.add(identity(image, kind))
        chains.update(chain_ids(image.layers))
        blobs.update(manifest.layer(diff_id).digest for diff_id in image.layers)
    return LoadPlan(steps=tuple(steps), disk=_disk(manifest, steps, inventory))


def identity(image: Image, kind: Store) -> str:
    """The id that the engine gives the image."""
    return image.config if kind is Store.CLASSIC else image.manifest


def is_complete(image: EngineImage, wanted: Image, kind: Store) -> bool:
    """Whether an image of the engine is the wanted one."""
    return image.id == identity(wanted, kind) and image.layers == wanted.layers


def _missing(
    manifest: Manifest, image: Image, kind: Store, chains: Collection[str], blobs: Collection[str]
) -> list[int]:
    """Which layers of an image must be sent, counted from 0."""
    if kind is Store.CLASSIC:
        return [index for index, chain in enumerate(chain_ids(image.layers)) if chain not in chains]
    digests = [manifest.layer(diff_id).digest for diff_id in image.layers]
    return [index for index, digest in enumerate(digests) if digest not in blobs]


def _steps(manifest: Manifest, number: int, missing: Iterable[int]) -> list[Step]:
    image = manifest.images[number]
    layers = [manifest.layer(diff_id) for diff_id in image.layers]
    groups: list[list[int]] = [[]]
    for index in missing:
        size = sum(layers[member].raw_size for member in (*groups[-1], index))
        if groups[-1] and size > SMALL_STEP:
            groups.append([])
        groups[-1].append(index)
    depths = [group[-1] + 1 for group in groups[:-1]] + [len(layers)]
    return [
        Step(
            number=number,
            depth=depth,
            carried=_once(layers[index] for index in group),
            last=depth == len(layers),
        )
        for group, depth in zip(groups, depths, strict=True)
    ]


def _once(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """The layers without repetitions: an image may have the same one twice."""
    return tuple({layer.diff_id: layer for layer in layers}.values())


def _disk(manifest: Manifest, steps: Sequence[Step], inventory: Inventory) -> int:
    """Free bytes that the store needs: for what it keeps, and for what it holds meanwhile.

    The classic store holds the archives of the step that it unpacks and of the next one, the containerd store
    every blob.
    """
    if not steps:
        return 0
    sent = [sum(map(inventory.sent_size, step.carried)) for step in steps]
    if inventory.kind is Store.CLASSIC:
        unpacked = accumulate(step.raw_size for step in steps)
        archives = map(sum, pairwise([*sent, 0]))
        moments = zip(unpacked, archives, strict=True)
        return max(int(kept * IMAGE_OVERHEAD) + held for kept, held in moments) + RESERVE
    return int(_newly_unpacked(manifest, steps, inventory) * IMAGE_OVERHEAD) + sum(sent) + RESERVE


def _newly_unpacked(manifest: Manifest, steps: Iterable[Step], inventory: Inventory) -> int:
    """Raw bytes of the layers that containerd will unpack: those whose chain no image has."""
    chains = set(inventory.chains)
    total = 0
    for number in sorted({step.number for step in steps}):
        layers = manifest.images[number].layers
        for chain, diff_id in zip(chain_ids(layers), layers, strict=True):
            total += 0 if chain in chains else manifest.layer(diff_id).raw_size
            chains.add(chain)
    return total


# --- the image of one step ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedImage:
    """The image that a step loads, with its configuration and its manifest."""

    image: Image
    config: bytes
    manifest: bytes


def staged_image(manifest: Manifest, step: Step, config: bytes, image_manifest: bytes) -> StagedImage:
    """The image that a step loads. `config` and `image_manifest` are of the whole image, which comes last."""
    image = manifest.images[step.number]
    diff_ids = image.layers[: step.depth]
    if not step.last:
        config = _with_first_layers(config, step.depth)
        layers = [manifest.layer(diff_id) for diff_id in diff_ids]
        image_manifest = archive.image_manifest(config, digests.digest(config), layers)
    return StagedImage(
        image=Image(
            reference=staging_name(manifest.id, step.number, step.depth),
            config=digests.digest(config),
            manifest=digests.digest(image_manifest),
            layers=diff_ids,
        ),
        config=config,
        manifest=image_manifest,
    )


def _with_first_layers(config: bytes, depth: int) -> bytes:
    whole: dict[str, Any] = json.loads(config)
    kept = ("architecture", "variant", "os", "os.version", "created")
    reduced = {key: whole[key] for key in kept if key in whole}
    reduced["rootfs"] = {**whole["rootfs"], "diff_ids": whole["rootfs"]["diff_ids"][:depth]}
    return json.dumps(reduced, sort_keys=True, separators=(",", ":")).encode()
