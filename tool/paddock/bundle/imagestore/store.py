"""What an engine holds and where: its kind of image store, its images, and the blobs of their layers.

The engine's API is asked; where the engine's folders can be read (root on the engine's own machine), they say
more. Nothing here changes an engine. docs/reference/bundle-format.md says how the two kinds of store differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from paddock import engine
from paddock.bundle.format.chainids import chain_ids
from paddock.durable import free_bytes
from paddock.engine import docker
from paddock.errors import EngineError

_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_CONTENT = "io.containerd.content.v1.content/blobs/sha256"
_SYSTEM_CONTAINERD = Path("/var/lib/containerd")
_LARGEST_DESCRIPTION = 64 << 20  # bytes of a manifest or a configuration that is read at all


class Store(StrEnum):
    """The kind of an engine's image store."""

    CLASSIC = "classic"  # unpacked layers by chain id, below the engine's own root
    CONTAINERD = "containerd"  # blobs and snapshots of containerd


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStore:
    """An engine's image store."""

    kind: Store
    driver: str  # the storage driver, or containerd's snapshotter
    root: Path  # the engine's data root, as the engine names it
    version: str  # of the engine
    platform: str  # Docker's os/arch

    def layer_records(self) -> Path | None:
        """The folder of the classic store's records of layers, where this process may read layers."""
        records = self.root / "image" / self.driver / "layerdb" / "sha256"
        readable = self.kind is Store.CLASSIC and engine.is_local() and _listable(records)
        return records if readable and _listable(self.root / self.driver) else None

    def layer_folder(self, cache_id: str) -> Path:
        """Where the classic store has the files of one layer."""
        return self.root / self.driver / cache_id / "diff"

    def configuration_file(self, image: str) -> Path:
        """Where the classic store has the configuration of the image with this id."""
        digits = image.partition(":")[2]
        return self.root / "image" / self.driver / "imagedb" / "content" / "sha256" / digits

    def content(self) -> Path | None:
        """The folder of containerd's blobs, each named by its digest; None where it cannot be read."""
        if self.kind is not Store.CONTAINERD or not engine.is_local():
            return None
        places = (self.root / "containerd" / "daemon", _SYSTEM_CONTAINERD)
        return next((place / _CONTENT for place in places if _listable(place / _CONTENT)), None)

    def disk(self) -> Path | None:
        """A folder on the disk that new layers go to; None where it cannot be seen from here."""
        content = self.content()
        if content is not None:
            return content
        return self.root if engine.is_local() and self.root.is_dir() else None

    def free(self) -> int | None:
        """Free bytes for new layers; None where the engine's disk cannot be seen from here."""
        disk = self.disk()
        return None if disk is None else free_bytes(disk)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineImage:
    """An image of an engine.

    `id` is the digest of its configuration in the classic store, that of its manifest or index in
    containerd's. `layers` are diff ids from the lowest layer to the top.
    """

    id: str
    references: tuple[str, ...]
    platform: str
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredBlobs:
    """The digests of what containerd's content store has of an image; blobs in the order of the layers."""

    manifest: str
    config: str
    blobs: tuple[str, ...]
    sizes: tuple[int, ...]
    media_types: tuple[str, ...]


def read(client: docker.DockerClient) -> EngineStore:
    """The store of the engine behind `client`."""
    try:
        info, version = client.info(), client.version()
    except (docker.errors.DockerException, OSError) as failure:
        raise refused(failure) from failure
    status = dict(pair for pair in info.get("DriverStatus") or () if len(pair) == 2)
    return EngineStore(
        kind=Store.CONTAINERD if status.get("driver-type") == _SNAPSHOTTER else Store.CLASSIC,
        driver=str(info["Driver"]),
        root=Path(info["DockerRootDir"]),
        version=str(info["ServerVersion"]),
        platform=f"{version['Os']}/{version['Arch']}",
    )


def images(client: docker.DockerClient) -> tuple[EngineImage, ...]:
    """Every image of the engine, also those without a name."""
    try:
        ids = sorted({str(listed["Id"]) for listed in client.api.images(all=True)})
        inspected = [_inspected(client, identity) for identity in ids]
    except (docker.errors.DockerException, OSError) as failure:
        raise refused(failure) from failure
    return tuple(image for image in inspected if image is not None)


def image(client: docker.DockerClient, reference: str) -> EngineImage | None:
    """The image behind a reference or an id; None where the engine has none."""
    try:
        return _inspected(client, reference)
    except (docker.errors.DockerException, OSError) as failure:
        raise refused(failure) from failure


def chains_held(images: Iterable[EngineImage]) -> frozenset[str]:
    """Every chain id of these images: a classic store need not be sent those layers again."""
    return frozenset(chain for image in images for chain in chain_ids(image.layers))


def stored_blobs(content: Path, identity: str, layers: Sequence[str]) -> StoredBlobs | None:
    """The blobs of the image `identity` with these diff ids; None where the image is not described there.

    `identity` may be an index: the manifest is the one whose configuration lists these layers.
    """
    described = _description(content, identity)
    if described is None:
        return None
    if "manifests" in described:
        digests = (str(manifest["digest"]) for manifest in described["manifests"])
        of_manifests = (stored_blobs(content, digest, layers) for digest in digests)
        return next((stored for stored in of_manifests if stored is not None), None)
    config = _description(content, str(described.get("config", {}).get("digest", "")))
    if config is None or tuple(config.get("rootfs", {}).get("diff_ids") or ()) != tuple(layers):
        return None
    return StoredBlobs(
        manifest=identity,
        config=str(described["config"]["digest"]),
        blobs=tuple(str(layer["digest"]) for layer in described["layers"]),
        sizes=tuple(int(layer["size"]) for layer in described["layers"]),
        media_types=tuple(str(layer["mediaType"]) for layer in described["layers"]),
    )


def blob_file(content: Path, digest: str) -> Path:
    """Where containerd's content store has a blob."""
    return content / digest.removeprefix("sha256:")


def refused(failure: Exception) -> EngineError:
    """The error for a request that the engine refused."""
    reason = str(failure)
    if isinstance(failure, docker.errors.APIError) and failure.explanation:
        reason = failure.explanation
    return EngineError(
        f"Docker Engine: refused a request: {reason}", hint="`docker version` shows whether it answers"
    )


def _description(content: Path, digest: str) -> dict[str, Any] | None:
    """A manifest, index or configuration; None where it is not there, or is no JSON object."""
    path = blob_file(content, digest)
    try:
        if path.stat().st_size > _LARGEST_DESCRIPTION:
            return None
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _inspected(client: docker.DockerClient, name: str) -> EngineImage | None:
    """The image with this name; None where it is not there, perhaps removed since it was listed."""
    try:
        attributes = client.images.get(name).attrs
    except (docker.errors.ImageNotFound, docker.errors.NotFound):
        return None
    return EngineImage(
        id=str(attributes["Id"]),
        references=tuple(attributes.get("RepoTags") or ()),
        platform=f"{attributes['Os']}/{attributes['Architecture']}",
        layers=tuple((attributes.get("RootFS") or {}).get("Layers") or ()),
    )


def _listable(folder: Path) -> bool:
    try:
        next(folder.iterdir(), None)
    except OSError:
        return False
    return True
