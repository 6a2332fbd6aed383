"""Chain IDs: how an engine names a layer together with all layers below it (OCI image-spec, config.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def chain_ids(layers: Iterable[str]) -> tuple[str, ...]:
    """The chain id of each layer on those below it, as engines name them (OCI image specification, config)."""
    chains: list[str] = []
    for layer in layers:
        both = f"{chains[-1]} {layer}" if chains else layer
        chains.append(f"sha256:{hashlib.sha256(both.encode()).hexdigest()}" if chains else layer)
    return tuple(chains)
