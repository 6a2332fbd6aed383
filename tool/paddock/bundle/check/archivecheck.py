"""What a bundle's archive holds, compared with its manifest.

`cat parts | docker load` asks nobody: so the archive must hold exactly the blobs that the manifest names, at
their places, and descriptions that say the same images as the manifest. A name that leads elsewhere, a link,
a second copy or a layer that unpacks to more than it declares is found here, before an engine meets it.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from paddock.bundle.format import archive
from paddock.bundle.format.frames import FramedBlob
from paddock.bundle.format.manifest import Blob, Carried, Image, Kind, Layer
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError

LARGEST_DESCRIPTION = 16 << 20  # bytes of an image's configuration, of index.json, ...
_LONGEST_END = 20 * archive.BLOCK  # tar programs fill up to this


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    offset: int
    size: int


def require_consistent(bundle: OpenBundle) -> None:
    """Raise BundleError unless the archive is exactly what the manifest says. Layers are not read: see
    `BlobCheck`.
    """
    manifest = bundle.manifest
    members = _members(bundle)
    for blob in manifest.blobs:
        if members.pop(archive.blob_path(blob.digest), None) != _Place(offset=blob.offset, size=blob.size):
            raise BundleError(f"{manifest.archive}: the blob {blob.digest} is not where the manifest says")
    _require_descriptions(bundle, members)
    layers = {each.diff_id: each for each in manifest.layers}
    for image in manifest.images:
        _require_image(bundle, image, [layers[each] for each in image.layers])


def _members(bundle: OpenBundle) -> dict[str, _Place]:
    """Every file of the archive. Raises BundleError for anything else in it."""
    name, most = (
        bundle.manifest.archive,
        len(bundle.manifest.blobs) + len(archive.descriptions((), "os/arch", {}, {})),
    )
    found: dict[str, _Place] = {}
    offset = 0
    while (header := _block(bundle, offset)) != bytes(archive.BLOCK):
        member = _member(header, f"{name}: byte {offset}")
        if member.name in found or len(found) == most:
            raise BundleError(
                f"{name}: found {member.name!r} at byte {offset}, which the manifest does not name"
            )
        found[member.name] = _Place(offset=offset + archive.BLOCK, size=member.size)
        offset += archive.BLOCK + member.size
        padding = archive.padding(member.size)
        if offset + len(padding) > bundle.size or bundle.read_at(offset, len(padding)) != padding:
            raise BundleError(f"{name}: {member.name!r} does not end in zeros, or not at all")
        offset += len(padding)
    left = bundle.size - offset
    if not len(archive.END) <= left <= _LONGEST_END or bundle.read_at(offset, left) != bytes(left):
        raise BundleError(f"{name}: found {left} bytes behind the last file, expected an archive's end")
    return found


def _block(bundle: OpenBundle, offset: int) -> bytes:
    if offset + archive.BLOCK > bundle.size:
        raise BundleError(f"{bundle.manifest.archive}: found no end mark, expected a whole archive")
    return bundle.read_at(offset, archive.BLOCK)


def _member(header: bytes, where: str) -> tarfile.TarInfo:
    """The plain file that a header announces; in the one form in which we write it, so with nothing beside
    it.
    """
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        if member.size >= 0 and header == archive.member_header(member.name, member.size):
            return member
    except (tarfile.HeaderError, ValueError):
        pass
    raise BundleError(f"{where}: found no header of a plain file, expected one as the export writes it")


def _require_descriptions(bundle: OpenBundle, members: Mapping[str, _Place]) -> None:
    """What docker and skopeo go by must say what the manifest says. A delta may leave it out: it is not
    loaded so.
    """
    manifest = bundle.manifest
    sizes = {each.digest: each.size for each in manifest.blobs}
    layers = {each.diff_id: each for each in manifest.layers}
    wanted = archive.descriptions(manifest.images, manifest.platform, sizes, layers)
    if unknown := sorted(set(members) - set(wanted)):
        raise BundleError(f"{manifest.archive}: found {unknown[0]!r}, which the manifest does not name")
    for name, expected in wanted.items():
        place = members.get(name)
        if place is None and manifest.kind is Kind.DELTA:
            continue
        if (
            place is None
            or place.size != len(expected)
            or bundle.read_at(place.offset, place.size) != expected
        ):
            raise BundleError(
                f"{manifest.archive}: {name} does not say what the manifest says, or is not there"
            )


def _require_image(bundle: OpenBundle, image: Image, layers: list[Layer]) -> None:
    config = bundle.open_blob(image.config).read(LARGEST_DESCRIPTION)
    manifest = bundle.open_blob(image.manifest).read(LARGEST_DESCRIPTION)
    if manifest != archive.image_manifest(config, image.config, layers):
        raise BundleError(f"{image.reference}: its manifest does not say what the bundle's manifest says")
    try:
        said = json.loads(config)
        found = [said["os"], said["architecture"], *said["rootfs"]["diff_ids"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BundleError(f"{image.reference}: its configuration is not that of an image") from None
    if found != [*bundle.manifest.platform.split("/")[:2], *image.layers]:
        raise BundleError(f"{image.reference}: its configuration has another platform or other layers")


@dataclass(kw_only=True, slots=True)
class _Progress:
    """One blob of which bytes come by."""

    blob: Blob
    layer: Layer | None
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0


class BlobCheck:
    """Compares blobs with their digests while the archive's bytes go past in order, and counts the raw bytes
    of layers.

    Blobs of which not every byte went past are left open. Not for several threads.
    """

    def __init__(self, bundle: OpenBundle) -> None:
        self.faults: list[str] = []
        self._bundle = bundle
        layers = {each.digest: each for each in bundle.manifest.layers if each.carried is Carried.WHOLE}
        blobs = sorted(bundle.manifest.blobs, key=lambda each: each.offset)
        self._waiting = [_Progress(blob=each, layer=layers.get(each.digest)) for each in blobs]

    def feed(self, offset: int, data: bytes) -> None:
        """Take the archive's bytes from `offset` on."""
        end = offset + len(data)
        for each in self._touched(offset, end):
            start = each.blob.offset + each.size
            if start < offset:
                continue  # bytes before these never came
            piece = memoryview(data)[start - offset : each.blob.offset + each.blob.size - offset]
            each.sha256.update(piece)
            each.size += len(piece)
            if each.size == each.blob.size:
                self._end(each)

    def forget(self, offset: int, end: int) -> None:
        """The bytes between `offset` and `end` were wrong: what they belong to cannot be told any more."""
        touched = self._touched(offset, end)
        self._waiting = [each for each in self._waiting if each not in touched]

    def _touched(self, offset: int, end: int) -> list[_Progress]:
        while self._waiting and self._waiting[0].blob.offset + self._waiting[0].blob.size < offset:
            self._waiting.pop(0)
        return [
            each
            for each in self._waiting
            if each.blob.offset < end and each.blob.offset + each.blob.size > offset
        ]

    def _end(self, each: _Progress) -> None:
        if f"sha256:{each.sha256.hexdigest()}" != each.blob.digest:
            self.faults.append(f"the blob {each.blob.digest} has the SHA-256 {each.sha256.hexdigest()}")
        elif each.layer is not None:
            self._count(each.layer)

    def _count(self, layer: Layer) -> None:
        """Compare what a layer's frames declare with its raw size; a decoder gives no more than they declare."""
        read = self._bundle.open_blob(layer.digest).read_at
        blob = FramedBlob(read, size=layer.size, raw_size=layer.raw_size, where=f"the layer {layer.diff_id}")
        try:
            blob.check()
        except BundleError as wrong:
            self.faults.append(wrong.message)
