"""The bundle's archive compared with its manifest, member by member.

`cat images.tar.* | docker load` checks nothing. So the archive must hold exactly the blobs that the manifest
names, at their offsets, and index.json and manifest.json must describe the same images as the manifest. A
path that leads out, a link, a second copy or a layer that unpacks to more than it declares is found here,
before an engine meets it.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from paddock.bundle.format import archive
from paddock.bundle.format.digests import digest_of
from paddock.bundle.format.frames import FramedBlob
from paddock.bundle.format.manifest import Blob, Carried, Image, Kind, Layer
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError

LARGEST_DESCRIPTION = 16 << 20  # bytes of an image's configuration or manifest
_LONGEST_END = 20 * archive.BLOCK  # tar programs pad an archive to a multiple of this


@dataclass(frozen=True, kw_only=True, slots=True)
class _Content:
    """Where the content of a member of the archive lies."""

    offset: int
    size: int


def require_consistent(bundle: OpenBundle) -> None:
    """Raise BundleError unless the archive is exactly what the manifest says.

    The content of layers is not read: `BlobCheck` compares it while the parts are read.
    """
    manifest = bundle.manifest
    members = _members(bundle)
    for blob in manifest.blobs:
        content = members.pop(archive.blob_path(blob.digest), None)
        if content != _Content(offset=blob.offset, size=blob.size):
            raise BundleError(f"{manifest.archive}: the blob {blob.digest} is not where the manifest says")
    _require_descriptions(bundle, members)
    layers = {layer.diff_id: layer for layer in manifest.layers}
    for image in manifest.images:
        _require_image(bundle, image, [layers[diff_id] for diff_id in image.layers])


def _members(bundle: OpenBundle) -> dict[str, _Content]:
    """Every file of the archive by name. Raises BundleError for any other kind of member."""
    name = bundle.manifest.archive
    most = len(bundle.manifest.blobs) + len(archive.descriptions((), "os/arch", {}, {}))
    members: dict[str, _Content] = {}
    offset = 0
    while (header := _block(bundle, offset)) != bytes(archive.BLOCK):
        member = _member(header, f"{name}: byte {offset}")
        if member.name in members or len(members) == most:
            raise BundleError(
                f"{name}: found {member.name!r} at byte {offset}, which the manifest does not name"
            )
        members[member.name] = _Content(offset=offset + archive.BLOCK, size=member.size)
        offset += archive.BLOCK + member.size
        padding = archive.padding(member.size)
        if offset + len(padding) > bundle.size or bundle.read_at(offset, len(padding)) != padding:
            raise BundleError(f"{name}: {member.name!r} does not end in zeros, or does not end at all")
        offset += len(padding)
    _require_end(bundle, offset)
    return members


def _require_end(bundle: OpenBundle, offset: int) -> None:
    left = bundle.size - offset
    if not len(archive.END) <= left <= _LONGEST_END or bundle.read_at(offset, left) != bytes(left):
        raise BundleError(
            f"{bundle.manifest.archive}: found {left} bytes behind the last file, expected an archive's end"
        )


def _block(bundle: OpenBundle, offset: int) -> bytes:
    if offset + archive.BLOCK > bundle.size:
        raise BundleError(f"{bundle.manifest.archive}: found no end mark, expected a whole archive")
    return bundle.read_at(offset, archive.BLOCK)


def _member(header: bytes, where: str) -> tarfile.TarInfo:
    """The plain file that a header announces.

    The header must be exactly as an export writes it, so nothing can be hidden in its other fields.
    """
    with suppress(tarfile.HeaderError, ValueError):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        if member.size >= 0 and header == archive.member_header(member.name, member.size):
            return member
    raise BundleError(f"{where}: found no header of a plain file, expected one as the export writes it")


def _require_descriptions(bundle: OpenBundle, members: Mapping[str, _Content]) -> None:
    """Raise BundleError unless the files that docker and skopeo go by say what the manifest says.

    A delta need not have them, for `docker load` cannot load one.
    """
    manifest = bundle.manifest
    sizes = {blob.digest: blob.size for blob in manifest.blobs}
    layers = {layer.diff_id: layer for layer in manifest.layers}
    wanted = archive.descriptions(manifest.images, manifest.platform, sizes, layers)
    if unknown := sorted(set(members) - set(wanted)):
        raise BundleError(f"{manifest.archive}: found {unknown[0]!r}, which the manifest does not name")
    for name, expected in wanted.items():
        content = members.get(name)
        if content is None and manifest.kind is Kind.DELTA:
            continue
        if content is None or not _has_bytes(bundle, content, expected):
            raise BundleError(
                f"{manifest.archive}: {name} does not say what the manifest says, or is not there"
            )


def _has_bytes(bundle: OpenBundle, content: _Content, expected: bytes) -> bool:
    return content.size == len(expected) and bundle.read_at(content.offset, content.size) == expected


def _require_image(bundle: OpenBundle, image: Image, layers: list[Layer]) -> None:
    config = bundle.open_blob(image.config).read(LARGEST_DESCRIPTION)
    manifest = bundle.open_blob(image.manifest).read(LARGEST_DESCRIPTION)
    if manifest != archive.image_manifest(config, image.config, layers):
        raise BundleError(f"{image.reference}: its manifest does not say what the bundle's manifest says")
    try:
        described = json.loads(config)
        found = [described["os"], described["architecture"], *described["rootfs"]["diff_ids"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BundleError(f"{image.reference}: its configuration is not that of an image") from None
    if found != [*bundle.manifest.platform.split("/")[:2], *image.layers]:
        raise BundleError(f"{image.reference}: its configuration has another platform or other layers")


@dataclass(kw_only=True, slots=True)
class _PartialBlob:
    """A blob of which `size` bytes have been seen so far."""

    blob: Blob
    layer: Layer | None  # whose blob it is, if it is a layer's
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0

    @property
    def end(self) -> int:
        """Where the blob ends in the archive."""
        return self.blob.offset + self.blob.size


class BlobCheck:
    """Compares blobs with their digests, and layers with their raw sizes, while the archive is read in order.

    `faults` says what is wrong. A blob of which bytes were missed is not judged. Not for several threads.
    """

    def __init__(self, bundle: OpenBundle) -> None:
        self.faults: list[str] = []
        self._bundle = bundle
        layers = {layer.digest: layer for layer in bundle.manifest.layers if layer.carried is Carried.WHOLE}
        blobs = sorted(bundle.manifest.blobs, key=lambda blob: blob.offset)
        self._pending = [_PartialBlob(blob=blob, layer=layers.get(blob.digest)) for blob in blobs]

    def feed(self, offset: int, data: bytes) -> None:
        """Take the archive's bytes from `offset` on."""
        for partial in self._overlapping(offset, offset + len(data)):
            start = partial.blob.offset + partial.size
            if start < offset:
                continue  # bytes before these were missed
            piece = memoryview(data)[start - offset : partial.end - offset]
            partial.sha256.update(piece)
            partial.size += len(piece)
            if partial.size == partial.blob.size:
                self._complete(partial)

    def forget(self, offset: int, end: int) -> None:
        """Do not judge the blobs between `offset` and `end`: bytes that were fed there were wrong."""
        touched = self._overlapping(offset, end)
        self._pending = [partial for partial in self._pending if partial not in touched]

    def _overlapping(self, offset: int, end: int) -> list[_PartialBlob]:
        while self._pending and self._pending[0].end < offset:
            self._pending.pop(0)
        return [partial for partial in self._pending if partial.blob.offset < end and partial.end > offset]

    def _complete(self, partial: _PartialBlob) -> None:
        if digest_of(partial.sha256) != partial.blob.digest:
            self.faults.append(f"the blob {partial.blob.digest} has the SHA-256 {partial.sha256.hexdigest()}")
        elif partial.layer is not None:
            self._check_raw_size(partial.layer)

    def _check_raw_size(self, layer: Layer) -> None:
        """Compare the raw size of a layer with what its frames declare, beyond which no decoder goes."""
        read = self._bundle.open_blob(layer.digest).read_at
        blob = FramedBlob(read, size=layer.size, raw_size=layer.raw_size, where=f"the layer {layer.diff_id}")
        try:
            blob.check()
        except BundleError as wrong:
            self.faults.append(wrong.message)
