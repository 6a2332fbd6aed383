"""An uncompressed layer at hand: what deltas are cut from and made on, wherever its bytes lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
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


def checked(stream: Iterable[bytes], digest: str, *, where: str, hint: str) -> Iterator[bytes]:
    """The same pieces. Raises BundleError after the last one when they are not what `digest` says."""
    found = hashlib.sha256()
    for piece in stream:
        found.update(piece)
        yield piece
    if f"sha256:{found.hexdigest()}" != digest:
        raise BundleError(f"{where}: found sha256:{found.hexdigest()}, expected {digest}", hint=hint)
