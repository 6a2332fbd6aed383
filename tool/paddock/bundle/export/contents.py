"""What a bundle is to carry, as far as it is known before anything is written. `gather` finds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from paddock.bundle.format import digests
from paddock.bundle.format.manifest import StackName


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceImage:
    """An image to be carried. `config` is its configuration, byte for byte; `layers` are diff ids."""

    reference: str
    platform: str
    config: bytes
    layers: tuple[str, ...]

    @property
    def digest(self) -> str:
        return digests.digest(self.config)

    @property
    def created(self) -> str:
        return str(json.loads(self.config).get("created") or "")

    @property
    def labels(self) -> Mapping[str, str]:
        return json.loads(self.config).get("config", {}).get("Labels") or {}


@dataclass(frozen=True, kw_only=True, slots=True)
class CarriedFile:
    """Any other file of the bundle, `path` below its top."""

    path: str
    data: bytes
    executable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a bundle is to carry. All images are of one platform."""

    platform: str
    stack: StackName | None
    images: tuple[SourceImage, ...]
    files: tuple[CarriedFile, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer once, in the order in which they are written."""
        return tuple(dict.fromkeys(diff_id for image in self.images for diff_id in image.layers))
