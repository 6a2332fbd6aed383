"""Images of a few kilobytes, made without an engine, as one archive to load.

Their layers have whatever a tar can hold.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from paddock.bundle.format.libzstd import zstd

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
# x86-64 code for Linux
EXITS = bytes.fromhex("bf07000000b83c0000000f05")  # exit(7)
WAITS = bytes.fromhex("b8220000000f05ebf7")  # pause() again and again


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallLayer:
    """`raw` is the tar, `blob` what an image carries of it, `kind` the suffix of its media type."""

    raw: bytes
    blob: bytes
    kind: str = ""

    @property
    def diff_id(self) -> str:
        return digest(self.raw)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallImage:
    """An image: a name and layers from the lowest to the top."""

    reference: str
    layers: tuple[SmallLayer, ...]
    platform: str = "linux/amd64"
    made: str = "2026-01-01T00:00:00Z"

    @property
    def config(self) -> bytes:
        system, architecture = self.platform.split("/")
        return as_json(
            {
                "architecture": architecture,
                "os": system,
                "created": self.made,
                "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/true"]},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
                "history": [
                    {"created": self.made, "created_by": f"layer {at}"} for at in range(len(self.layers))
                ],
            }
        )

    @property
    def manifest(self) -> bytes:
        return as_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": described(self.config, CONFIG),
                "layers": [described(layer.blob, LAYER + layer.kind) for layer in self.layers],
            }
        )

    def blobs(self) -> dict[str, bytes]:
        """Everything that its manifest leads to, and the manifest."""
        blobs = {digest(layer.blob): layer.blob for layer in self.layers}
        return {**blobs, digest(self.config): self.config, digest(self.manifest): self.manifest}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def as_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def described(blob: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def tar(
    files: Mapping[str, bytes],
    *,
    time: int = 1_700_000_000,
    more: Callable[[tarfile.TarFile], None] = lambda _: None,
) -> bytes:
    """A layer's tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), time, 0o755
            archive.addfile(member, io.BytesIO(content))
        more(archive)
    return buffer.getvalue()


def every_kind_of_member(archive: tarfile.TarFile) -> None:
    """Folders, links of both kinds, a pipe, long and odd names, a whiteout, pax records, an empty file."""
    for name, kind, target in (
        ("dir/", tarfile.DIRTYPE, ""),
        ("dir/link", tarfile.SYMTYPE, "/etc/hostname"),
        ("dir/pipe", tarfile.FIFOTYPE, ""),
    ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.mode = kind, target, 0o755
        archive.addfile(member)
    for name, content in {
        "dir/first": b"once",
        "n" * 90 + "/" + "m" * 120: b"a long name",
        "größe-\u4e2d": b"not ASCII",
        "raw-\udcff": b"not UTF-8",
        "empty": b"",
        "block": bytes(512),
        "dir/.wh.gone": b"",
    }.items():
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    hard = tarfile.TarInfo("dir/second")
    hard.type, hard.linkname = tarfile.LNKTYPE, "dir/first"
    archive.addfile(hard)


def program(code: bytes) -> bytes:
    """The smallest program that runs in a container with nothing else in it (elf(5))."""
    start, headers = 0x400000, 64 + 56
    size = headers + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, start + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 0x1000) + code


def plain(raw: bytes) -> SmallLayer:
    return SmallLayer(raw=raw, blob=raw)


def gzipped(raw: bytes) -> SmallLayer:
    return SmallLayer(raw=raw, blob=gzip.compress(raw, mtime=0), kind="+gzip")


def zstandard(raw: bytes, *, frame: int = 1 << 16) -> SmallLayer:
    """A blob of several zstd frames."""
    pieces = [raw[at : at + frame] for at in range(0, len(raw), frame)]
    return SmallLayer(raw=raw, blob=b"".join(zstd.compress(piece, 3) for piece in pieces), kind="+zstd")


def archive(images: Sequence[SmallImage]) -> bytes:
    """What `docker load` takes in either store: an OCI layout with manifest.json."""
    members = dict(member for image in images for member in image.blobs().items())
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                **described(image.manifest, MANIFEST),
                "annotations": {"io.containerd.image.name": f"docker.io/{image.reference}"},
            }
            for image in images
        ],
    }
    listed = [
        {
            "Config": _path(digest(image.config)),
            "RepoTags": [image.reference],
            "Layers": [_path(digest(layer.blob)) for layer in image.layers],
        }
        for image in images
    ]
    files = {"oci-layout": as_json({"imageLayoutVersion": "1.0.0"}), "index.json": as_json(index)}
    files |= {_path(name): content for name, content in members.items()}
    return tar({**files, "manifest.json": as_json(listed)})


def _path(name: str) -> str:
    return "blobs/" + name.replace(":", "/")
