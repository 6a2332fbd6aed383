"""An uncompressed layer at hand: what deltas are cut from and made on, wherever its bytes lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


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
