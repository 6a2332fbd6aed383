"""Small bundles for tests, made without the exporter, so that tests of readers do not depend on it.

A bundle here is real in every respect: layers are tars in zstd frames, the archive is an OCI layout with a
`manifest.json` that Docker loads, and every hash is right.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layer_files import MemoryLayer, noise
from paddock.bundle.delta.making import Bases, OpenBase, write_recipe
from paddock.bundle.format.archive import blob_path, descriptions, image_manifest
from paddock.bundle.format.libzstd import zstd
from paddock.bundle.format.manifest import (
    FORMAT,
    MANIFEST,
    SUMS,
    Base,
    Blob,
    Carried,
    Compression,
    File,
    Image,
    Kind,
    Layer,
    Manifest,
    Part,
    part_name,
)
from small_images import as_json, digest

FRAME = 20_000  # raw bytes in one frame


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    """A layer with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def framed(raw: bytes, size: int = FRAME) -> bytes:
    """A layer's blob: each piece of `size` raw bytes one frame."""
    return b"".join(zstd.compress(raw[at : at + size], level=3) for at in range(0, len(raw), size))


LAYERS = (
    layer_tar({"etc/os-release": b"ID=debian\n", "usr/lib/libtorch.so": noise(90_000, 1)}),
    layer_tar({"opt/app.py": b"print('page')\n" * 2000}),
    layer_tar({"opt/model.safetensors": noise(60_000, 2)}),
)


@dataclass
class Archive:
    """The archive while it grows."""

    data: bytearray = field(default_factory=bytearray)
    blobs: list[Blob] = field(default_factory=list)

    def add(self, name: str, content: bytes, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(content), kind, link
        self.data += member.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)

    def add_blob(self, content: bytes) -> str:
        name = digest(content)
        if name not in {blob.digest for blob in self.blobs}:
            self.blobs.append(Blob(digest=name, size=len(content), offset=len(self.data) + 512))
            self.add(blob_path(name), content)
        return name

    def end(self) -> bytes:
        return bytes(self.data) + bytes(1024)


IMAGES: Mapping[str, Sequence[bytes]] = {
    "paddock/cpu-api:0.1.0": LAYERS[:2],
    "paddock/cpu-vlm:0.1.0": LAYERS[::2],
}
FILES: Mapping[str, bytes] = {
    "README.txt": b"How to load this bundle.\n",
    "stack/compose.yaml": b"services: {}\n",
    "sbom/api.spdx.json": b'{"packages":[]}\n',
}


def write(
    folder: Path,
    *,
    images: Mapping[str, Sequence[bytes]] = IMAGES,
    files: Mapping[str, bytes] = FILES,
    part_size: int = 50_000,
    frame: int = FRAME,
    platform: str = "linux/amd64",
    tamper: Callable[[bytes], bytes] = bytes,
    config: Callable[[Any], Any] = dict,
    on: Sequence[bytes] = (),
    **changes: Any,
) -> Manifest:
    """Write a bundle into `folder`: a full one, or a delta that makes its layers from the layers `on`.

    `tamper` makes another archive before it is hashed, `config` other image configurations, `changes`
    replaces fields of the manifest: a hostile bundle is right in all but one respect.
    """
    made = Archive()
    layers: dict[str, Layer] = {}
    described = [
        _image(made, name, raws, platform, layers, frame, config, on) for name, raws in images.items()
    ]
    archive = "delta.tar" if on else "images.tar"
    sizes = {blob.digest: blob.size for blob in made.blobs}
    for name, content in descriptions(described, platform, sizes, layers).items():
        made.add(name, content)
    parts = cut(tamper(made.end()), part_size)
    values: dict[str, Any] = {
        "format": FORMAT,
        "kind": Kind.DELTA if on else Kind.FULL,
        "tool": "0.1.0",
        "platform": platform,
        "stack": None,
        "images": tuple(described),
        "layers": tuple(layers.values()),
        "compression": Compression(level=3, libzstd=zstd.zstd_version),
        "archive": archive,
        "parts": tuple(
            Part(name=part_name(archive, number), size=len(data), sha256=hashlib.sha256(data).hexdigest())
            for number, data in enumerate(parts)
        ),
        "blobs": tuple(made.blobs),
        "files": tuple(
            File(
                path=path,
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                executable=data.startswith(b"#!"),
            )
            for path, data in files.items()
        ),
        "base": Base(layers=tuple(map(digest, on))) if on else None,
    }
    manifest = Manifest(**{**values, **changes})
    put(folder, {**{part.name: data for part, data in zip(manifest.parts, parts, strict=True)}, **files})
    put(folder, {SUMS: manifest.sums(), MANIFEST: manifest.to_bytes()})
    return manifest


def put(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _image(
    made: Archive,
    name: str,
    raws: Sequence[bytes],
    platform: str,
    layers: dict[str, Layer],
    frame: int,
    config: Callable[[Any], Any],
    base: Sequence[bytes],
) -> Image:
    described = [_layer(made, raw, frame, base) for raw in raws]
    layers.update({layer.diff_id: layer for layer in described})
    system, _, architecture = platform.partition("/")
    diff_ids = [layer.diff_id for layer in described]
    said = {
        "architecture": architecture,
        "os": system,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    written = as_json(config(said))
    manifest = image_manifest(written, made.add_blob(written), described)
    return Image(
        reference=name, config=digest(written), manifest=made.add_blob(manifest), layers=tuple(diff_ids)
    )


def _layer(made: Archive, raw: bytes, frame: int, base: Sequence[bytes]) -> Layer:
    blob = framed(raw, frame)
    how, recipe = Carried.WHOLE, None
    if raw in base:
        how = Carried.BASE
    elif base:
        how, recipe = Carried.RECIPE, made.add_blob(_recipe(raw, frame, base))
    else:
        made.add_blob(blob)
    return Layer(
        diff_id=digest(raw),
        raw_size=len(raw),
        digest=digest(blob),
        size=len(blob),
        carried=how,
        recipe=recipe,
    )


def _recipe(raw: bytes, frame: int, base: Sequence[bytes]) -> bytes:
    frames = array("Q", (len(piece) for piece in cut(raw, frame)))
    known = [OpenBase(layer=MemoryLayer(layer), digest=digest(framed(layer, frame))) for layer in base]
    out = io.BytesIO()
    written = write_recipe(MemoryLayer(raw), frames, Bases(known), out, most=1 << 30)
    assert written is not None
    return out.getvalue()
