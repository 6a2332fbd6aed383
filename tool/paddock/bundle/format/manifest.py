"""The root manifest of a bundle, `bundle.json`: every file, blob, layer and image, with its hash.

As in an OCI image layout, everything is reached by digest from this one small file, so a signature over it
covers the whole bundle. It is canonical JSON: equal content is equal bytes. Nothing here reads or writes
files: `parse` and `Manifest.to_bytes` are the format. docs/reference/bundle-format.md describes it for other
implementers.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from paddock.bundle.format.digests import sha256
from paddock.bundle.format.imagenames import is_name
from paddock.bundle.format.records import Size, canonical_json, parse_json, read_record
from paddock.errors import BundleError

FORMAT = "paddock-bundle/1"
MANIFEST = "bundle.json"
SIGNATURE = "bundle.json.minisig"
SUMS = "SHA256SUMS"
FULL_ARCHIVE, DELTA_ARCHIVE = "images.tar", "delta.tar"  # what the names of parts begin with
LARGEST = 16 << 20  # bytes of a bundle.json that is read at all
_MOST_PARTS = 1000

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")  # a folder's name, a version
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*")


class Kind(StrEnum):
    """`full` loads anywhere, with nothing but Docker; `delta` needs layers that the site already holds."""

    FULL = "full"
    DELTA = "delta"


class Carried(StrEnum):
    """How a bundle carries a layer."""

    WHOLE = "whole"  # as its blob
    RECIPE = "recipe"  # as a recipe that makes it from base layers
    BASE = "base"  # not at all: the site has it


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One file of the split archive. `size` in bytes, `sha256` in hex."""

    name: str
    size: Size
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """Any other file of the bundle. `path` is relative to its top, `size` in bytes, `sha256` in hex."""

    path: str
    size: Size
    sha256: str
    executable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """One blob in the archive: `offset` of its first byte in the parts laid end to end, `size` in bytes."""

    digest: str
    size: Size
    offset: Size


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer of the images.

    `diff_id` and `raw_size` are those of the uncompressed tar, `digest` and `size` those of its blob.
    `recipe` is the digest of the blob with its recipe (see `paddock.bundle.delta.recipe`), if it has one.
    """

    diff_id: str
    raw_size: Size
    digest: str
    size: Size
    carried: Carried
    recipe: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One image.

    `config` is its id in the classic image store, `manifest` its id in the containerd store. `layers` are
    diff ids from the lowest layer to the top.
    """

    reference: str
    config: str
    manifest: str
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StackName:
    """The stack that the images are for."""

    name: str
    target: str
    backend: str
    model: str
    variant: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Compression:
    """How layer blobs were compressed: only the same library makes the same bytes again."""

    level: int
    libzstd: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What a delta needs at the site."""

    layers: tuple[str, ...]  # diff ids of the layers that it omits, or makes others from
    bundles: tuple[str, ...] = ()  # ids of the bundles that it was made on: for people, the layers decide


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A bundle. `archive` is what the names of its parts start with."""

    format: str
    kind: Kind
    tool: str  # version of paddock that wrote it
    platform: str  # Docker's os/arch; one for all images
    stack: StackName | None
    images: tuple[Image, ...]
    layers: tuple[Layer, ...]
    compression: Compression
    archive: str
    parts: tuple[Part, ...]
    blobs: tuple[Blob, ...]
    files: tuple[File, ...]
    base: Base | None

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits, derived from all the rest, that name the bundle."""
        return sha256(self.to_bytes())[:16]

    def to_bytes(self) -> bytes:
        """The content of bundle.json."""
        return canonical_json(self)

    def sums(self) -> bytes:
        """The content of SHA256SUMS, for `sha256sum --check`: every file, and bundle.json itself."""
        hashes = {part.name: part.sha256 for part in self.parts}
        hashes |= {file.path: file.sha256 for file in self.files}
        hashes[MANIFEST] = sha256(self.to_bytes())
        return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()

    def blob(self, digest: str) -> Blob | None:
        """Where the archive has a blob; None where this bundle does not carry it."""
        return next((blob for blob in self.blobs if blob.digest == digest), None)

    def layer(self, diff_id: str) -> Layer:
        """The layer with this diff id; `parse` has made sure that every image's layers are there."""
        return next(layer for layer in self.layers if layer.diff_id == diff_id)


def parse(data: bytes, *, where: str = MANIFEST) -> Manifest:
    """The manifest in a bundle.json.

    Raises BundleError for anything that is not one, or that contradicts itself.
    """
    if len(data) > LARGEST:
        raise BundleError(f"{where}: found {len(data)} bytes, expected at most {LARGEST}")
    value = parse_json(data, where=where)
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise BundleError(
            f"{where}: found format {value.get('format')!r}, expected {FORMAT!r}",
            hint="use the tool that travels in the bundle; it knows its own format",
        )
    manifest = read_record(value, Manifest, where=where)
    _check_words(manifest, where)
    _check_names(manifest, where)
    _check_hashes(manifest, where)
    _check_archive(manifest, where)
    _check_images(manifest, where)
    _check_layers(manifest, where)
    if manifest.to_bytes() != data:
        raise BundleError(f"{where}: is not in its canonical form, so it was changed after it was written")
    return manifest


def part_name(archive: str, number: int) -> str:
    """The name of a part, counted from 0: `images.tar.000`.

    It has three digits or more, so that names sort as numbers do.
    """
    return f"{archive}.{number:03d}"


# --- what the values of a manifest mean together ------------------------------------------------------------


def _check_words(manifest: Manifest, where: str) -> None:
    """Whatever becomes a name somewhere, or is shown to people, is plain."""
    words = [manifest.tool, manifest.archive, manifest.compression.libzstd]
    words += dataclasses.astuple(manifest.stack) if manifest.stack else ()
    rules = [(_WORD, word) for word in words]
    rules.append((_PLATFORM, manifest.platform))
    rules += [(_REFERENCE, image.reference) for image in manifest.images]
    for rule, word in rules:
        if not rule.fullmatch(word):
            raise BundleError(f"{where}: found the name {word!r}, expected {rule.pattern}")


def _check_names(manifest: Manifest, where: str) -> None:
    names = [part.name for part in manifest.parts] + [file.path for file in manifest.files]
    for name in names:
        if not _is_plain_name(name):
            raise BundleError(
                f"{where}: found the file name {name!r}, expected a plain name below the bundle"
            )
    folded = [name.casefold() for name in [*names, MANIFEST, SIGNATURE, SUMS]]
    if repeated := _first_repeated(folded):
        raise BundleError(
            f"{where}: the file name {repeated} stands twice (upper and lower case count as equal)"
        )
    for number, part in enumerate(manifest.parts):
        expected = part_name(manifest.archive, number)
        if part.name != expected:
            raise BundleError(f"{where}: found part {part.name}, expected {expected}")


def _is_plain_name(name: str) -> bool:
    normal = posixpath.normpath(name) == name and ".." not in name.split("/")
    return normal and _PLAIN_NAME.fullmatch(name) is not None


def _check_hashes(manifest: Manifest, where: str) -> None:
    for checksum in _checksums(manifest):
        if not _HEX.fullmatch(checksum):
            raise BundleError(f"{where}: found {checksum!r}, expected a SHA-256 in hexadecimal")
    for digest in _digests(manifest):
        if not _DIGEST.fullmatch(digest):
            raise BundleError(f"{where}: found {digest!r}, expected sha256:<64 hexadecimal digits>")


def _checksums(manifest: Manifest) -> Iterator[str]:
    for part in manifest.parts:
        yield part.sha256
    for file in manifest.files:
        yield file.sha256


def _digests(manifest: Manifest) -> Iterator[str]:
    for blob in manifest.blobs:
        yield blob.digest
    for layer in manifest.layers:
        yield layer.diff_id
        yield layer.digest
        if layer.recipe is not None:
            yield layer.recipe
    for image in manifest.images:
        yield image.config
        yield image.manifest
        yield from image.layers
    if manifest.base:
        yield from manifest.base.layers


def _check_archive(manifest: Manifest, where: str) -> None:
    if len(manifest.parts) > _MOST_PARTS:
        raise BundleError(f"{where}: found {len(manifest.parts)} parts, expected at most {_MOST_PARTS}")
    total = sum(part.size for part in manifest.parts)
    end = 0
    for blob in sorted(manifest.blobs, key=lambda blob: blob.offset):
        if blob.offset < end or blob.offset + blob.size > total:
            raise BundleError(
                f"{where}: the blob {blob.digest} overlaps another one or ends outside the parts"
            )
        end = blob.offset + blob.size
    if repeated := _first_repeated(blob.digest for blob in manifest.blobs):
        raise BundleError(f"{where}: the blob {repeated} stands twice")


def _check_images(manifest: Manifest, where: str) -> None:
    """Every image has a name that engines give, and all of it is described or in the archive."""
    described = {layer.diff_id for layer in manifest.layers}
    carried = {blob.digest for blob in manifest.blobs}
    for image in manifest.images:
        if not is_name(image.reference):
            raise BundleError(
                f"{where}: found the image {image.reference}, expected NAME:TAG, which engines can give",
                hint="have it exported again, with `paddock export --image NAME:TAG --output DIR`",
            )
        for diff_id in image.layers:
            if diff_id not in described:
                raise BundleError(f"{where}: {image.reference}: the layer {diff_id} is not described")
        for digest in (image.config, image.manifest):
            if digest not in carried:
                raise BundleError(f"{where}: {image.reference}: the blob {digest} is not in the archive")


def _check_layers(manifest: Manifest, where: str) -> None:
    if repeated := _first_repeated(layer.diff_id for layer in manifest.layers):
        raise BundleError(f"{where}: the layer {repeated} stands twice")
    sizes = {blob.digest: blob.size for blob in manifest.blobs}
    base = set(manifest.base.layers) if manifest.base else set()
    for layer in manifest.layers:
        match layer.carried:
            case Carried.BASE:
                if layer.diff_id not in base:
                    raise BundleError(
                        f"{where}: the layer {layer.diff_id} is neither carried nor named as base"
                    )
            case Carried.WHOLE:
                _require_in_archive(layer, layer.digest, sizes, where)
                if layer.size != sizes[layer.digest]:
                    raise BundleError(f"{where}: the layer {layer.diff_id} and its blob have two sizes")
            case Carried.RECIPE:
                _require_in_archive(layer, layer.recipe, sizes, where)
        if layer.carried is not Carried.WHOLE and manifest.kind is Kind.FULL:
            raise BundleError(
                f"{where}: a full bundle carries every layer whole, found {layer.diff_id} as {layer.carried}"
            )


def _require_in_archive(layer: Layer, blob: str | None, carried: Container[str], where: str) -> None:
    if blob is None or blob not in carried:
        raise BundleError(f"{where}: the layer {layer.diff_id} is not in the archive")


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
