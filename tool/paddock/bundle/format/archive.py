"""The archive in a full bundle's parts: one tar, both an OCI image layout and a `docker save` archive.

Both image stores load it: the containerd store and skopeo read index.json, the classic store reads
manifest.json. Blobs come first, these descriptions last. Everything here is a pure function of its arguments:
equal images give equal bytes, with no time, no owner and no order of chance in them. Specifications:
opencontainers/image-spec, image-layout.md and manifest.md; moby, image/spec/v1.2.md.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

from paddock.bundle.format.manifest import Image, Layer

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)  # the two zero blocks that end a tar

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def member_header(name: str, size: int) -> bytes:
    """The header block of a file of the archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.GNU_FORMAT)  # the format that has room for sizes from 8 GiB on


def padding(size: int) -> bytes:
    """The zeros that follow the content of a file of `size` bytes."""
    return bytes(-size % BLOCK)


def blob_path(digest: str) -> str:
    """The name of a blob's file in the archive."""
    return "blobs/" + digest.replace(":", "/", 1)


def image_manifest(config: bytes, config_digest: str, layers: Iterable[Layer]) -> bytes:
    """The OCI manifest of an image whose layers are blobs of a bundle."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": len(config)},
            "layers": [
                {"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.size} for layer in layers
            ],
        }
    )


def descriptions(
    images: Iterable[Image], platform: str, manifest_sizes: Mapping[str, int], layers: Mapping[str, Layer]
) -> dict[str, bytes]:
    """The files that say which images the archive holds, by file name.

    `manifest_sizes` are by digest, `layers` by diff id.
    """
    images = tuple(images)
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [_index_entry(image, platform, manifest_sizes[image.manifest]) for image in images],
    }
    return {
        "index.json": _json(index),
        "manifest.json": _json([_docker_entry(image, layers) for image in images]),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }


def full_name(reference: str) -> str:
    """A reference as containerd stores it: with the registry that Docker leaves out."""
    host, slash, _ = reference.partition("/")
    if not slash:
        return f"docker.io/library/{reference}"
    names_registry = "." in host or ":" in host or host == "localhost"
    return reference if names_registry else f"docker.io/{reference}"


def _index_entry(image: Image, platform: str, size: int) -> dict[str, Any]:
    system, architecture = platform.split("/")[:2]
    return {
        "mediaType": MANIFEST_TYPE,
        "digest": image.manifest,
        "size": size,
        "platform": {"architecture": architecture, "os": system},
        "annotations": {
            "io.containerd.image.name": full_name(image.reference),
            # skopeo finds an image by it: oci-archive:FILE:REFERENCE
            "org.opencontainers.image.ref.name": image.reference,
        },
    }


def _docker_entry(image: Image, layers: Mapping[str, Layer]) -> dict[str, Any]:
    return {
        "Config": blob_path(image.config),
        "RepoTags": [image.reference],
        "Layers": [blob_path(layers[diff_id].digest) for diff_id in image.layers],
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
