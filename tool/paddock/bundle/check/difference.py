"""What differs between two bundles: images, software, files and layers.

Only manifests and software lists (SPDX) are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paddock.bundle.format.manifest import Layer, Manifest
from paddock.bundle.format.reader import OpenBundle, read_whole
from paddock.errors import BundleError

LARGEST_LIST = 64 << 20  # bytes of a software list that is read


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A name whose value differs; None where a side does not have it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What differs between two bundles."""

    images: tuple[Change, ...]
    software: tuple[Change, ...]  # by package URL without a version
    files: tuple[Change, ...]
    removed: tuple[Layer, ...]
    added: tuple[Layer, ...]


def compare(old: OpenBundle, new: OpenBundle) -> Difference:
    """What changed from `old` to `new`. Raises BundleError for a software list that cannot be read."""
    before, after = old.manifest, new.manifest
    had = {layer.diff_id for layer in before.layers}
    has = {layer.diff_id for layer in after.layers}
    return Difference(
        images=_changes(_images(before), _images(after)),
        software=_changes(_software(old), _software(new)),
        files=_changes(_files(before), _files(after)),
        removed=tuple(layer for layer in before.layers if layer.diff_id not in has),
        added=tuple(layer for layer in after.layers if layer.diff_id not in had),
    )


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return tuple(Change(name=name, before=before.get(name), after=after.get(name)) for name in names)


def _images(manifest: Manifest) -> dict[str, str]:
    return {image.reference: image.config for image in manifest.images}


def _files(manifest: Manifest) -> dict[str, str]:
    return {file.path: file.sha256 for file in manifest.files}


def _software(bundle: OpenBundle) -> dict[str, str]:
    """The versions of each package in any of the images."""
    versions: dict[str, set[str]] = {}
    for file in bundle.manifest.files:
        if file.path.endswith(".spdx.json"):
            for name, version in _packages(bundle, file.path):
                versions.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(of_name)) for name, of_name in versions.items()}


def _packages(bundle: OpenBundle, path: str) -> Iterator[tuple[str, str]]:
    """The package URL without its version, and the version, of each package in a software list."""
    try:
        document: Any = json.loads(read_whole(bundle.path(path), LARGEST_LIST))
        for package in document["packages"]:
            for reference in package.get("externalRefs", []):
                yield str(reference["referenceLocator"]).partition("@")[0], str(package["versionInfo"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as wrong:
        raise BundleError(f"{path}: is not a software list (SPDX 2.3): {wrong!r}") from None
