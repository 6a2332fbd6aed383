"""An uncompressed layer at hand: what deltas are cut from and made on, wherever its bytes lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from paddock.errors import BundleError


class RawLayer(Protocol):
    """The tar of one layer. `diff_id` is the SHA-256 over `size` bytes of it; nobody has checked that yet."""

    @property
    def diff_id(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises BundleError or EngineError where they cannot be had."""

    def stream(self) -> Iterator[bytes]:
        """The whole tar from its start, in pieces of at most 1 MiB."""


class LayerSource(Protocol):
    """Something that holds layers: an engine, or a bundle."""

    def holds(self, diff_id: str) -> bool:
        """Whether `open` will find the layer."""

    def open(self, diff_id: str) -> AbstractContextManager[RawLayer]:
        """The layer, for as long as the context lasts. Raises BundleError when it is not there."""


class AnyLayers:
    """The `LayerSource` over several others; the first that has a layer gives it."""

    def __init__(self, sources: Sequence[LayerSource]) -> None:
        self._sources = sources

    def holds(self, diff_id: str) -> bool:
        """Whether one of them has the layer."""
        return any(each.holds(diff_id) for each in self._sources)

    def open(self, diff_id: str) -> AbstractContextManager[RawLayer]:
        """The layer. Raises BundleError when none of them has it."""
        for each in self._sources:
            if each.holds(diff_id):
                return each.open(diff_id)
        raise BundleError(
            f"layer {diff_id}: is not carried, and nothing here has it",
            hint="import the bundle that brings it first, or give its folder with --base",
        )


def checked(stream: Iterable[bytes], digest: str, *, where: str, hint: str) -> Iterator[bytes]:
    """The same pieces. Raises BundleError after the last one when they are not what `digest` says."""
    found = hashlib.sha256()
    for piece in stream:
        found.update(piece)
        yield piece
    if f"sha256:{found.hexdigest()}" != digest:
        raise BundleError(f"{where}: found sha256:{found.hexdigest()}, expected {digest}", hint=hint)
