"""Chain ids: how an engine names a layer together with all layers below it (OCI image-spec, config.md)."""

from __future__ import annotations

from collections.abc import Iterable

from paddock.bundle.format.digests import digest


def chain_ids(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """The chain id of every layer of an image, whose diff ids are given from the lowest layer to the top."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(digest(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return tuple(chains)
