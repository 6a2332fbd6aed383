"""`templates/lock.yaml`: what every image comes to, exactly: digests of base images, packages and weights.

What could not be asked for says so (`unpinned: reason`), so that nothing looks pinned that is not.
scripts/maintain/update-pins.py writes the file where there is a network; it changes data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from paddock.errors import ConfigurationError
from paddock.matrix import strictyaml
from paddock.matrix.fieldtypes import FrozenDict, Pattern
from paddock.matrix.records import Platform, Source

FILE = "lock.yaml"
Digest = Annotated[
    str, Pattern(r"sha256:[0-9a-f]{64}", "a digest such as sha256:0123... of 64 hexadecimal digits")
]
Revision = Annotated[str, Pattern(r"[0-9a-f]{40}", "a commit of 40 hexadecimal digits")]
FileName = Annotated[str, Pattern(r"[a-z0-9][a-z0-9.-]*\.txt", "the name of a file in templates/locks")]


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedBase:
    """An image of somebody else's on one platform: the digest of what its tag names, or why there is none."""

    digest: Digest | None = None
    unpinned: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedPackages:
    """The Python packages of an image on one platform: the file that lists them, or why there is none."""

    lock: FileName | None = None
    digest: Digest | None = None  # of that file
    unpinned: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedWeights:
    """A weight set at one source: its revision, or why there is none."""

    revision: Revision | None = None
    unpinned: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pins:
    """The whole file."""

    bases: Mapping[str, Mapping[Platform, PinnedBase]] = field(default_factory=FrozenDict)
    packages: Mapping[str, Mapping[Platform, PinnedPackages]] = field(default_factory=FrozenDict)
    weights: Mapping[str, Mapping[Source, PinnedWeights]] = field(default_factory=FrozenDict)
    # Of the images that IMAGES=upstream runs.
    upstream: Mapping[str, Mapping[Platform, PinnedBase]] = field(default_factory=FrozenDict)

    def digest(self, image: str, platform: Platform) -> str:
        """The digest of a base image or of one of upstream's; empty where it is not pinned."""
        pinned = {**self.bases, **self.upstream}.get(image, {}).get(platform)
        return (pinned.digest if pinned else None) or ""

    def reference(self, image: str, platform: Platform) -> str:
        """What a FROM says of a base image: its name, with its digest where a container registry told one."""
        return "@".join(filter(None, (image, self.digest(image, platform))))


def load(templates: Path) -> Pins:
    """Read the file; nothing is pinned where there is none.

    Raises DataError, and ConfigurationError for what is neither pinned nor says why.
    """
    path = templates / FILE
    if not path.is_file():
        return Pins()
    pins = strictyaml.read(path, Pins).record
    for part, images in (("bases", pins.bases), ("upstream", pins.upstream)):
        for name, platforms in images.items():
            for platform, image in platforms.items():
                _refuse_half(f"{path}: {part}.{name}.{platform}", image.digest, image.unpinned)
    for name, lists in pins.packages.items():
        for platform, packages in lists.items():
            _refuse_half(
                f"{path}: packages.{name}.{platform}", packages.lock and packages.digest, packages.unpinned
            )
    for name, sources in pins.weights.items():
        for source, weights in sources.items():
            _refuse_half(f"{path}: weights.{name}.{source}", weights.revision, weights.unpinned)
    return pins


def _refuse_half(where: str, exact: str | None, unpinned: str | None) -> None:
    if bool(exact) == bool(unpinned):
        found = "both" if exact else "neither"
        raise ConfigurationError(
            f"{where}: found {found}, expected either what it is pinned to or `unpinned: reason`"
        )
