"""What an engine holds and where: which of the two image stores it has, its images, their layers' chain ids.

Asked through the engine's API; where its folders can be read from here (root on the engine's own machine),
they say more. Nothing here changes an engine. How the two stores differ: docs/bundle-format.md.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from paddock import engine
from paddock.bundle.format.chainids import chain_ids
from paddock.engine import docker
from paddock.errors import EngineError

_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_CONTENT = "io.containerd.content.v1.content/blobs/sha256"
_SYSTEM_CONTAINERD = Path("/var/lib/containerd")
_SMALL = 64 << 20  # bytes of a manifest or a configuration that is read at all


class Store(StrEnum):
    """How an engine keeps images: by layer chain under its own root, or as blobs and snapshots of containerd."""

    CLASSIC = "classic"
    CONTAINERD = "containerd"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStore:
    """An engine's image store. `root` is its data root as the engine names it, `driver` its storage driver."""

    kind: Store
    driver: str
    root: Path
    version: str
    platform: str  # Docker's os/arch

    def layer_records(self) -> Path | None:
        """The classic store's records of layers, where this process may read them and the layers' files."""
        records = self.root / "image" / self.driver / "layerdb" / "sha256"
        readable = self.kind is Store.CLASSIC and engine.is_local() and _listable(records)
        return records if readable and _listable(self.root / self.driver) else None

    def layer_folder(self, cache_id: str) -> Path:
        """Where the classic store has the files of one layer."""
        return self.root / self.driver / cache_id / "diff"

    def content(self) -> Path | None:
        """The folder of containerd's blobs, each named by its digest, where this process may read it."""
        if self.kind is not Store.CONTAINERD or not engine.is_local():
            return None
        places = (self.root / "containerd" / "daemon", _SYSTEM_CONTAINERD)
        return next((place / _CONTENT for place in places if _listable(place / _CONTENT)), None)

    def disk(self) -> Path | None:
        """A folder on the disk that new layers go to, where it is seen from here."""
        content = self.content()
        if content is not None:
            return content
        return self.root if engine.is_local() and self.root.is_dir() else None

    def free(self) -> int | None:
        """Free bytes for new layers; None where the engine's disk is not seen from here."""
        disk = self.disk()
        return None if disk is None else shutil.disk_usage(disk).free


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineImage:
    """An image of an engine. `id` is its configuration's digest in the classic store, else its manifest's or
    index's.

    `layers` are diff ids from the lowest to the top.
    """

    id: str
    references: tuple[str, ...]
    platform: str
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredBlobs:
    """What containerd's content store has of one image: its manifest and the blobs, in the order of the
    layers.
    """

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
        ids = sorted({str(each["Id"]) for each in client.api.images(all=True)})
        found = [_inspected(client, each) for each in ids]
    except (docker.errors.DockerException, OSError) as failure:
        raise refused(failure) from failure
    return tuple(each for each in found if each is not None)


def image(client: docker.DockerClient, reference: str) -> EngineImage | None:
    """The image behind a reference or an id; None where the engine has none."""
    try:
        return _inspected(client, reference)
    except (docker.errors.DockerException, OSError) as failure:
        raise refused(failure) from failure


def chains_held(found: Iterable[EngineImage]) -> frozenset[str]:
    """Every chain id of these images: layers that a classic store need not be sent again."""
    return frozenset(chain for each in found for chain in chain_ids(each.layers))


def stored_blobs(content: Path, identity: str, layers: Sequence[str]) -> StoredBlobs | None:
    """What the content store says of the image `identity` with these diff ids; None where its description is
    not there.

    `identity` may be an index: the manifest is the one whose configuration lists these layers.
    """
    found = _small(content, identity)
    if found is None:
        return None
    if "manifests" in found:
        below = (stored_blobs(content, str(each["digest"]), layers) for each in found["manifests"])
        return next((each for each in below if each is not None), None)
    config = _small(content, str(found.get("config", {}).get("digest", "")))
    if config is None or tuple(config.get("rootfs", {}).get("diff_ids") or ()) != tuple(layers):
        return None
    return StoredBlobs(
        manifest=identity,
        config=str(found["config"]["digest"]),
        blobs=tuple(str(each["digest"]) for each in found["layers"]),
        sizes=tuple(int(each["size"]) for each in found["layers"]),
        media_types=tuple(str(each["mediaType"]) for each in found["layers"]),
    )


def blob_file(content: Path, digest: str) -> Path:
    """Where containerd's content store has a blob."""
    return content / digest.removeprefix("sha256:")


def refused(failure: Exception) -> EngineError:
    """The error for a request that the engine did not do."""
    reason = (
        failure.explanation
        if isinstance(failure, docker.errors.APIError) and failure.explanation
        else str(failure)
    )
    return EngineError(
        f"Docker Engine: refused a request: {reason}", hint="`docker version` shows whether it answers"
    )


def _small(content: Path, digest: str) -> dict[str, Any] | None:
    """A JSON blob; None where it is not there, or is none."""
    path = blob_file(content, digest)
    try:
        if path.stat().st_size > _SMALL:
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _inspected(client: docker.DockerClient, name: str) -> EngineImage | None:
    try:
        found = client.images.get(name).attrs
    except (
        docker.errors.ImageNotFound,
        docker.errors.NotFound,
    ):  # also one that went between the list and now
        return None
    return EngineImage(
        id=str(found["Id"]),
        references=tuple(found.get("RepoTags") or ()),
        platform=f"{found['Os']}/{found['Architecture']}",
        layers=tuple((found.get("RootFS") or {}).get("Layers") or ()),
    )


def _listable(folder: Path) -> bool:
    try:
        next(folder.iterdir(), None)
    except OSError:
        return False
    return True
