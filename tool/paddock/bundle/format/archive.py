"""The archive in a full bundle's parts: one tar that is an OCI image layout and a `docker save` archive at
once.

Both image stores load it: the containerd store and skopeo go by index.json, the classic store by
manifest.json. Blobs come first, the descriptions last. Everything here is a pure function of what goes in: no
time, no owner, no order of chance. Specifications: opencontainers/image-spec image-layout.md, manifest.md;
moby image/spec/v1.2.md.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

from paddock.bundle.format.manifest import Image, Layer

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)  # what ends a tar

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def member_header(name: str, size: int) -> bytes:
    """The one block before a file of the archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.GNU_FORMAT)  # sizes from 8 GiB on fit into it, too


def padding(size: int) -> bytes:
    """The zeros behind a file of `size` bytes."""
    return bytes(-size % BLOCK)


def blob_path(digest: str) -> str:
    """Where a blob is in the archive."""
    return "blobs/" + digest.replace(":", "/", 1)


def image_manifest(config: bytes, config_digest: str, layers: Iterable[Layer]) -> bytes:
    """The OCI manifest of an image whose layers are blobs of ours."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": len(config)},
            "layers": [
                {"mediaType": LAYER_TYPE, "digest": each.digest, "size": each.size} for each in layers
            ],
        }
    )


def descriptions(
    images: Iterable[Image], platform: str, manifest_sizes: Mapping[str, int], layers: Mapping[str, Layer]
) -> dict[str, bytes]:
    """The files that say which images there are, by name. `layers` by diff id, `manifest_sizes` by digest."""
    images = tuple(images)
    index = [_indexed(each, platform, manifest_sizes[each.manifest]) for each in images]
    loaded = [
        {
            "Config": blob_path(each.config),
            "RepoTags": [each.reference],
            "Layers": [blob_path(layers[diff_id].digest) for diff_id in each.layers],
        }
        for each in images
    ]
    return {
        "index.json": _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": index}),
        "manifest.json": _json(loaded),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }


def _indexed(image: Image, platform: str, size: int) -> dict[str, Any]:
    system, architecture = platform.split("/")[:2]
    return {
        "mediaType": MANIFEST_TYPE,
        "digest": image.manifest,
        "size": size,
        "platform": {"architecture": architecture, "os": system},
        "annotations": {
            "io.containerd.image.name": full_name(image.reference),
            # what skopeo asks for: oci-archive:FILE:REFERENCE
            "org.opencontainers.image.ref.name": image.reference,
        },
    }


def full_name(reference: str) -> str:
    """A reference as containerd stores it, with the registry that is left out in front."""
    host, slash, _ = reference.partition("/")
    if not slash:
        return f"docker.io/library/{reference}"
    return reference if "." in host or ":" in host or host == "localhost" else f"docker.io/{reference}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
