"""What differs between two bundles: images, software, files and layers. Only manifests and software lists are
read.
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
    """One thing that is not the same; None where one side does not have it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Between two bundles. `software` is by package URL without a version; `removed` and `added` are layers."""

    images: tuple[Change, ...]
    software: tuple[Change, ...]
    files: tuple[Change, ...]
    removed: tuple[Layer, ...]
    added: tuple[Layer, ...]


def between(old: OpenBundle, new: OpenBundle) -> Difference:
    """What changed from one bundle to the other. Raises BundleError for a software list that cannot be read."""
    before, after = old.manifest, new.manifest
    had, has = ({each.diff_id for each in one.layers} for one in (before, after))
    return Difference(
        images=_changes(_images(before), _images(after)),
        software=_changes(_software(old), _software(new)),
        files=_changes(*({each.path: each.sha256 for each in one.files} for one in (before, after))),
        removed=tuple(each for each in before.layers if each.diff_id not in has),
        added=tuple(each for each in after.layers if each.diff_id not in had),
    )


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return tuple(Change(name=name, before=before.get(name), after=after.get(name)) for name in names)


def _images(manifest: Manifest) -> dict[str, str]:
    return {each.reference: each.config for each in manifest.images}


def _software(bundle: OpenBundle) -> dict[str, str]:
    """The versions of each package in any of the images."""
    versions: dict[str, set[str]] = {}
    for file in bundle.manifest.files:
        if file.path.endswith(".spdx.json"):
            for name, version in _packages(bundle, file.path):
                versions.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(found)) for name, found in versions.items()}


def _packages(bundle: OpenBundle, path: str) -> Iterator[tuple[str, str]]:
    try:
        document: Any = json.loads(read_whole(bundle.path(path), LARGEST_LIST))
        for package in document["packages"]:
            for reference in package.get("externalRefs", []):
                yield str(reference["referenceLocator"]).partition("@")[0], str(package["versionInfo"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as wrong:
        raise BundleError(f"{path}: is not a software list (SPDX 2.3): {wrong!r}") from None
