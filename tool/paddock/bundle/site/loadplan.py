"""What must be sent to an engine so that it has the images of a bundle, in steps that it keeps one by one.

An engine forgets all of a `docker load` that fails, so each step is a load of its own: of an image with the
first layers of the wanted one, under a name of ours, carrying only layers that the engine does not have. Both
stores skip layers that they have: the classic one by chain id, the containerd one by the digest of the blob.
A killed import goes on after its last step; the classic store, which unpacks a whole archive before it reads
it, needs room for two steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from paddock.bundle.format import archive
from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.manifest import Carried, Image, Layer, Manifest
from paddock.bundle.imagestore.store import EngineImage, Store

STAGING = "paddock-incoming"  # repository of the names that an import gives meanwhile
TOGETHER = 64 << 20  # raw bytes of small layers that go in one step
_IMAGE_OVERHEAD = 1.02  # of raw bytes: files take whole blocks of a disk, names and folders take some
_RESERVE = 64 << 20  # bytes that should stay free


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What an engine has: chain ids and image ids, and in the containerd store blobs that are known to be
    there.
    """

    kind: Store
    chains: frozenset[str]
    blobs: frozenset[str]
    images: frozenset[str]
    takes_zstd: bool  # layers as they are in the bundle

    def as_blob(self, layer: Layer) -> bool:
        """Whether a layer is sent as its blob; otherwise as its tar.

        The classic store keeps what it is sent until it has unpacked it: a blob where that is far less to
        write, as of programs; a tar where it is not, as of weights, since the engine decompresses on the core
        that unpacks.
        """
        if self.kind is Store.CONTAINERD:
            return True
        return self.takes_zstd and layer.carried is Carried.WHOLE and layer.size * 2 <= layer.raw_size

    def sent(self, layer: Layer) -> int:
        """Bytes that go to the engine for a layer."""
        return layer.size if self.as_blob(layer) else layer.raw_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One load: the image `number` of the bundle up to its layer `upto`, with the bytes of `carried` layers."""

    number: int
    upto: int
    carried: tuple[Layer, ...]
    last: bool  # of this image

    @property
    def raw_size(self) -> int:
        return sum(each.raw_size for each in self.carried)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPlan:
    """The steps, and the bytes of free disk that the engine needs for them at the worst moment."""

    steps: tuple[Step, ...]
    disk: int

    @property
    def raw_size(self) -> int:
        """Bytes of the layers that are sent, uncompressed."""
        return sum(each.raw_size for each in self.steps)


def staging_name(bundle: str, number: int, upto: int) -> str:
    """What an image is called while it is being loaded."""
    return f"{STAGING}:{bundle}-{number}-{upto}"


def plan(manifest: Manifest, held: Held) -> LoadPlan:
    """The steps for a bundle; none for images that the engine has complete, under whatever name."""
    chains, blobs, images = set(held.chains), set(held.blobs), set(held.images)
    steps: list[Step] = []
    for number, image in enumerate(manifest.images):
        missing = _missing(manifest, image, held.kind, chains, blobs)
        if missing or identity(image, held.kind) not in images:
            steps += _steps(manifest, number, missing)
        images.add(identity(image, held.kind))
        chains.update(chain_ids(image.layers))
        blobs.update(manifest.layer(each).digest for each in image.layers)
    return LoadPlan(steps=tuple(steps), disk=_disk(manifest, steps, held))


def identity(image: Image, kind: Store) -> str:
    """What the engine calls the image once it has it."""
    return image.config if kind is Store.CLASSIC else image.manifest


def _missing(
    manifest: Manifest, image: Image, kind: Store, chains: Collection[str], blobs: Collection[str]
) -> tuple[int, ...]:
    """Which layers of an image must be sent, counted from 0."""
    if kind is Store.CLASSIC:
        return tuple(at for at, chain in enumerate(chain_ids(image.layers)) if chain not in chains)
    return tuple(at for at, each in enumerate(image.layers) if manifest.layer(each).digest not in blobs)


def _steps(manifest: Manifest, number: int, missing: Iterable[int]) -> list[Step]:
    image = manifest.images[number]
    groups: list[list[int]] = [[]]
    for at in missing:
        size = sum(manifest.layer(image.layers[one]).raw_size for one in (*groups[-1], at))
        if groups[-1] and size > TOGETHER:
            groups.append([])
        groups[-1].append(at)
    ends = [group[-1] + 1 for group in groups[:-1]] + [len(image.layers)]
    return [
        Step(
            number=number,
            upto=upto,
            carried=tuple(
                {each: manifest.layer(each) for each in (image.layers[at] for at in group)}.values()
            ),
            last=upto == len(image.layers),
        )
        for group, upto in zip(groups, ends, strict=True)
    ]


def _disk(manifest: Manifest, steps: Iterable[Step], held: Held) -> int:
    """Free bytes that the store needs: what it keeps, and what it holds meanwhile.

    That is in the classic store the archives of the step that it unpacks and of the next one.
    """
    steps = tuple(steps)
    if not steps:
        return 0
    sent = [sum(held.sent(layer) for layer in step.carried) for step in steps]
    if held.kind is Store.CLASSIC:
        kept = accumulate(step.raw_size for step in steps)
        held_meanwhile = map(sum, pairwise([*sent, 0]))
        return (
            max(int(at * _IMAGE_OVERHEAD) + more for at, more in zip(kept, held_meanwhile, strict=True))
            + _RESERVE
        )
    return int(_unpacked(manifest, steps, held) * _IMAGE_OVERHEAD) + sum(sent) + _RESERVE


def _unpacked(manifest: Manifest, steps: Iterable[Step], held: Held) -> int:
    """Raw bytes of the layers that containerd will unpack: those whose chain no image has."""
    chains = set(held.chains)
    total = 0
    for number in sorted({step.number for step in steps}):
        layers = manifest.images[number].layers
        for chain, diff_id in zip(chain_ids(layers), layers, strict=True):
            total += 0 if chain in chains else manifest.layer(diff_id).raw_size
            chains.add(chain)
    return total


# --- the archive of one step --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """The image that a step makes, with its configuration and its manifest."""

    image: Image
    config: bytes
    manifest: bytes


def staged(manifest: Manifest, step: Step, config: bytes, image_manifest: bytes) -> Staged:
    """What a step loads. `config` and `image_manifest` are of the whole image, which the last step makes."""
    image = manifest.images[step.number]
    if not step.last:
        config = _first_layers(config, step.upto)
        layers = [manifest.layer(each) for each in image.layers[: step.upto]]
        image_manifest = archive.image_manifest(config, _digest(config), layers)
    name = staging_name(manifest.id, step.number, step.upto)
    return Staged(
        image=Image(
            reference=name,
            config=_digest(config),
            manifest=_digest(image_manifest),
            layers=image.layers[: step.upto],
        ),
        config=config,
        manifest=image_manifest,
    )


def _first_layers(config: bytes, upto: int) -> bytes:
    whole: dict[str, Any] = json.loads(config)
    kept = {
        key: whole[key] for key in ("architecture", "variant", "os", "os.version", "created") if key in whole
    }
    rootfs = {**whole["rootfs"], "diff_ids": whole["rootfs"]["diff_ids"][:upto]}
    return json.dumps({**kept, "rootfs": rootfs}, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def complete(image: EngineImage, wanted: Image, kind: Store) -> bool:
    """Whether an engine's image is the wanted one."""
    return image.id == identity(wanted, kind) and image.layers == wanted.layers
