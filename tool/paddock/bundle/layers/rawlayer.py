"""The interface of an uncompressed layer, and of what holds layers: an engine, a bundle, a folder.

Exports read layers through it, and deltas are made from and applied to them, wherever their bytes lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from paddock.bundle.format.digests import digest_of
from paddock.errors import BundleError


class RawLayer(Protocol):
    """The tar of one layer: `size` bytes whose SHA-256 should be `diff_id`, which a reader has to check."""

    @property
    def diff_id(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises BundleError or EngineError where that fails."""

    def stream(self) -> Iterator[bytes]:
        """The whole tar from its start, in pieces of at most 1 MiB."""


class LayerSource(Protocol):
    """Something that holds layers, such as an engine or a bundle."""

    def holds(self, diff_id: str) -> bool:
        """Whether `open` finds the layer."""

    def open(self, diff_id: str) -> AbstractContextManager[RawLayer]:
        """The layer, for as long as the context lasts. Raises BundleError when it is not there."""


class AnyLayers:
    """A `LayerSource` over several others, of which the first that has a layer gives it."""

    def __init__(self, sources: Sequence[LayerSource]) -> None:
        self._sources = sources

    def holds(self, diff_id: str) -> bool:
        """Whether one of them has the layer."""
        return any(source.holds(diff_id) for source in self._sources)

    def open(self, diff_id: str) -> AbstractContextManager[RawLayer]:
        """The layer. Raises BundleError when none of them has it."""
        for source in self._sources:
            if source.holds(diff_id):
                return source.open(diff_id)
        raise BundleError(
            f"layer {diff_id}: is not carried, and nothing here has it",
            hint="import the bundle that brings it first, or give its folder with --base",
        )


def checked(stream: Iterable[bytes], digest: str, *, where: str, hint: str) -> Iterator[bytes]:
    """The same pieces. Raises BundleError after the last one unless their SHA-256 is `digest`."""
    hasher = hashlib.sha256()
    for piece in stream:
        hasher.update(piece)
        yield piece
    if digest_of(hasher) != digest:
        raise BundleError(f"{where}: found {digest_of(hasher)}, expected {digest}", hint=hint)
