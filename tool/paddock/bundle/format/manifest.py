"""The root manifest of a bundle, `bundle.json`: what the bundle is made of, each byte under a hash.

Canonical JSON (keys sorted, no spaces, UTF-8, one newline at the end), so equal content is equal bytes; a
signature over this one small file covers everything. Nothing here touches files: `parse` and
`Manifest.to_bytes` are the format. docs/bundle-format.md is the description for other implementers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from paddock.errors import BundleError

FORMAT = "paddock-bundle/1"
MANIFEST = "bundle.json"
SIGNATURE = "bundle.json.minisig"
SUMS = "SHA256SUMS"
FULL_ARCHIVE, DELTA_ARCHIVE = "images.tar", "delta.tar"  # how the parts of a bundle begin
LARGEST = 16 << 20  # bytes of a bundle.json that is read at all

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")  # a name of a folder, a version
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*")
_Record = TypeVar("_Record")


class Kind(StrEnum):
    """`full` loads anywhere, with nothing but Docker; `delta` needs layers that the site already holds."""

    FULL = "full"
    DELTA = "delta"


class Carried(StrEnum):
    """How a bundle has a layer: its blob; a recipe that makes it from base layers; or nothing, the site has
    it.
    """

    WHOLE = "whole"
    RECIPE = "recipe"
    BASE = "base"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One file of the split archive. `size` in bytes, `sha256` in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """Any other file of the bundle, `path` with / below its top. `size` in bytes, `sha256` in hex."""

    path: str
    size: int
    sha256: str
    executable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """One blob in the archive: `offset` of its first byte in the parts laid end to end, `size` in bytes."""

    digest: str
    size: int
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer of the images. `diff_id` and `raw_size` are of the uncompressed tar, `digest` and `size` of
    its blob.

    `recipe` is the digest of the blob that `paddock.bundle.recipe` reads, where the layer is carried as one.
    """

    diff_id: str
    raw_size: int
    digest: str
    size: int
    carried: Carried
    recipe: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One image. `config` is its id in the classic store, `manifest` in the containerd store; `layers` diff
    ids.
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
    """How layer blobs were made: to make the same bytes again, the same library is needed."""

    level: int
    libzstd: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What a delta needs at the site: the layers that it omits or makes others from, and the bundles it was
    made on.
    """

    layers: tuple[str, ...]  # diff ids
    bundles: tuple[str, ...] = ()  # ids, for people; the layers decide


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A bundle. `archive` is the name that the parts' names start with; `id` is derived from all the rest."""

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
        """Sixteen hexadecimal digits that differ between bundles of different content."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:16]

    def to_bytes(self) -> bytes:
        """The one way to write this manifest."""
        plain = dataclasses.asdict(self)
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    def sums(self) -> bytes:
        """The text of SHA256SUMS, for `sha256sum --check`: every file, and bundle.json itself."""
        rows = [(each.sha256, each.name) for each in self.parts] + [
            (each.sha256, each.path) for each in self.files
        ]
        rows.append((hashlib.sha256(self.to_bytes()).hexdigest(), MANIFEST))
        return "".join(
            f"{digest}  {name}\n" for digest, name in sorted(rows, key=lambda row: row[1])
        ).encode()

    def blob(self, digest: str) -> Blob | None:
        """Where the archive has a blob; None where this bundle does not carry it."""
        return next((each for each in self.blobs if each.digest == digest), None)

    def layer(self, diff_id: str) -> Layer:
        """The layer with a diff id; every image's layers are there once `parse` has accepted the manifest."""
        return next(each for each in self.layers if each.diff_id == diff_id)


def parse(data: bytes, *, where: str = MANIFEST) -> Manifest:
    """The manifest in a bundle.json. Raises BundleError for anything that is not one, or not consistent in
    itself.
    """
    if len(data) > LARGEST:
        raise BundleError(f"{where}: found {len(data)} bytes, expected at most {LARGEST}")
    try:
        found = json.loads(data, object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as wrong:
        raise BundleError(f"{where}: is not JSON: {wrong}") from None
    if isinstance(found, dict) and found.get("format") != FORMAT:
        raise BundleError(
            f"{where}: found format {found.get('format')!r}, expected {FORMAT!r}",
            hint="use the tool that travels in the bundle; it knows its own format",
        )
    manifest = read_record(found, Manifest, where)
    _check(manifest, where)
    if manifest.to_bytes() != data:
        raise BundleError(f"{where}: is not in its canonical form, so it was changed after it was written")
    return manifest


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: refuse an object that has a key twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


# --- from JSON to records -----------------------------------------------------------------------------------


def read_record(found: object, record: type[_Record], where: str) -> _Record:
    """A record from what JSON gave, each key there and of its type. Raises BundleError."""
    assert dataclasses.is_dataclass(record)  # noqa: S101 - only called with records
    if not isinstance(found, dict):
        raise BundleError(f"{where}: found {type(found).__name__}, expected an object")
    types = get_type_hints(record)
    names = {each.name for each in dataclasses.fields(record)}
    if wrong := sorted(names ^ set(found)):
        raise BundleError(f"{where}: the keys {', '.join(map(ascii, wrong))} are missing or unknown")
    return record(**{name: _value(found[name], types[name], f"{where}: {name}") for name in found})


def _value(found: object, wanted: Any, where: str) -> Any:  # noqa: ANN401 - the record decides
    if get_origin(wanted) is tuple:
        if not isinstance(found, list):
            raise BundleError(f"{where}: found {type(found).__name__}, expected a list")
        return tuple(_value(each, get_args(wanted)[0], f"{where}[{at}]") for at, each in enumerate(found))
    if NoneType in get_args(wanted):
        inner = next(each for each in get_args(wanted) if each is not NoneType)
        return None if found is None else _value(found, inner, where)
    if dataclasses.is_dataclass(wanted):
        assert isinstance(wanted, type)  # noqa: S101 - hints hold classes
        return read_record(found, wanted, where)
    if issubclass(wanted, StrEnum):
        if found not in set(wanted):
            raise BundleError(f"{where}: found {found!r}, expected one of {', '.join(wanted)}")
        return wanted(found)
    if type(found) is not wanted:  # bool is an int, too
        raise BundleError(f"{where}: found {type(found).__name__}, expected {wanted.__name__}")
    return found


# --- what must fit together ---------------------------------------------------------------------------------


def _check(manifest: Manifest, where: str) -> None:
    _check_words(manifest, where)
    _check_names(manifest, where)
    _check_hashes(manifest, where)
    _check_archive(manifest, where)
    _check_layers(manifest, where)


def _check_words(manifest: Manifest, where: str) -> None:
    """Everything that becomes a name somewhere, or is shown to people, is plain."""
    words = [manifest.tool, manifest.archive, manifest.compression.libzstd]
    words += dataclasses.astuple(manifest.stack) if manifest.stack else ()
    rules = [(_WORD, word) for word in words] + [(_PLATFORM, manifest.platform)]
    rules += [(_REFERENCE, each.reference) for each in manifest.images]
    for rule, word in rules:
        if not rule.fullmatch(word):
            raise BundleError(f"{where}: found the name {word!r}, expected {rule.pattern}")


def _check_names(manifest: Manifest, where: str) -> None:
    names = [each.name for each in manifest.parts] + [each.path for each in manifest.files]
    for name in names:
        if not _PLAIN_NAME.fullmatch(name) or posixpath.normpath(name) != name or ".." in name.split("/"):
            raise BundleError(
                f"{where}: found the file name {name!r}, expected a plain name below the bundle"
            )
    folded = [name.casefold() for name in [*names, MANIFEST, SIGNATURE, SUMS]]
    if twice := _first_twice(folded):
        raise BundleError(
            f"{where}: the file name {twice} stands twice (upper and lower case count as equal)"
        )
    for number, part in enumerate(manifest.parts):
        if part.name != part_name(manifest.archive, number):
            raise BundleError(
                f"{where}: found part {part.name}, expected {part_name(manifest.archive, number)}"
            )


def part_name(archive: str, number: int) -> str:
    """The name of a part, counted from 0: `images.tar.000`. Three digits and more, so names sort as numbers
    do.
    """
    return f"{archive}.{number:03d}"


def _check_hashes(manifest: Manifest, where: str) -> None:
    for digest in [each.sha256 for each in manifest.parts] + [each.sha256 for each in manifest.files]:
        if not _HEX.fullmatch(digest):
            raise BundleError(f"{where}: found {digest!r}, expected a SHA-256 in hexadecimal")
    digests = [each.digest for each in manifest.blobs]
    digests += [
        name
        for each in manifest.layers
        for name in (each.diff_id, each.digest, each.recipe)
        if name is not None
    ]
    digests += [name for each in manifest.images for name in (each.config, each.manifest, *each.layers)]
    digests += manifest.base.layers if manifest.base else ()
    for digest in digests:
        if not _DIGEST.fullmatch(digest):
            raise BundleError(f"{where}: found {digest!r}, expected sha256:<64 hexadecimal digits>")


def _check_archive(manifest: Manifest, where: str) -> None:
    sizes = [
        each.size
        for group in (manifest.parts, manifest.files, manifest.blobs, manifest.layers)
        for each in group
    ]
    sizes += [each.raw_size for each in manifest.layers]
    if any(size < 0 for size in sizes) or any(each.offset < 0 for each in manifest.blobs):
        raise BundleError(f"{where}: found a size or an offset below 0")
    if len(manifest.parts) > 1000:
        raise BundleError(f"{where}: found {len(manifest.parts)} parts, expected at most 1000")
    total = sum(each.size for each in manifest.parts)
    end = 0
    for blob in sorted(manifest.blobs, key=lambda each: each.offset):
        if blob.offset < end or blob.offset + blob.size > total:
            raise BundleError(
                f"{where}: the blob {blob.digest} overlaps another one or ends outside the parts"
            )
        end = blob.offset + blob.size
    if twice := _first_twice([each.digest for each in manifest.blobs]):
        raise BundleError(f"{where}: the blob {twice} stands twice")


def _check_layers(manifest: Manifest, where: str) -> None:
    known = {each.diff_id for each in manifest.layers}
    if twice := _first_twice([each.diff_id for each in manifest.layers]):
        raise BundleError(f"{where}: the layer {twice} stands twice")
    carried = {each.digest: each.size for each in manifest.blobs}
    for image in manifest.images:
        if missing := [each for each in image.layers if each not in known]:
            raise BundleError(f"{where}: {image.reference}: the layer {missing[0]} is not described")
        if missing := [each for each in (image.config, image.manifest) if each not in carried]:
            raise BundleError(f"{where}: {image.reference}: the blob {missing[0]} is not in the archive")
    base = set(manifest.base.layers) if manifest.base else set()
    for layer in manifest.layers:
        needed = {Carried.WHOLE: layer.digest, Carried.RECIPE: layer.recipe}.get(layer.carried)
        if layer.carried is Carried.BASE and layer.diff_id not in base:
            raise BundleError(f"{where}: the layer {layer.diff_id} is neither carried nor named as base")
        if layer.carried is not Carried.BASE and needed not in carried:
            raise BundleError(f"{where}: the layer {layer.diff_id} is not in the archive")
        if layer.carried is Carried.WHOLE and layer.size != carried[layer.digest]:
            raise BundleError(f"{where}: the layer {layer.diff_id} and its blob have two sizes")
        if layer.carried is not Carried.WHOLE and manifest.kind is Kind.FULL:
            raise BundleError(
                f"{where}: a full bundle carries every layer whole, found {layer.diff_id} as {layer.carried}"
            )


def _first_twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
