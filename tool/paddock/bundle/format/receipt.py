"""A receipt: the layers and images that a site has, so that the workshop can make a delta for it.

Only the format; `paddock.bundle.site.receipt` fills one in by asking the engine of the site.
"""

from __future__ import annotations

from dataclasses import dataclass

from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.records import canonical_json, parse_json, read_record
from paddock.errors import BundleError

FORMAT = "paddock-receipt/1"
LARGEST = 16 << 20  # bytes of a receipt that is read at all


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldLayer:
    """A layer that the site has. `blob` is its blob's digest in a containerd store, None in a classic one."""

    diff_id: str
    blob: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldImage:
    """An image of the site. `layers` are diff ids, `chains` chain ids, both from the lowest layer up."""

    id: str
    references: tuple[str, ...]
    layers: tuple[str, ...]
    chains: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldBundle:
    """A bundle that the site imported."""

    id: str
    sequence: int
    time: str
    stack: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What a site has. `free` is in bytes, -1 where the engine's disk cannot be seen."""

    format: str
    tool: str
    time: str
    platform: str
    store: str
    engine: str
    driver: str | None  # version of the accelerator's driver
    free: int
    bundles: tuple[HeldBundle, ...]
    images: tuple[HeldImage, ...]
    layers: tuple[HeldLayer, ...]

    def to_bytes(self) -> bytes:
        """The content of the receipt's file."""
        return canonical_json(self)


def parse_receipt(data: bytes, *, where: str) -> Receipt:
    """The receipt in a file's content. Raises BundleError for anything that is not one."""
    if len(data) > LARGEST:
        raise BundleError(f"{where}: found {len(data)} bytes, expected at most {LARGEST}")
    value = parse_json(data, where=where)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise BundleError(
            f"{where}: is not a receipt in the format {FORMAT!r}", hint="`paddock receipt` writes one"
        )
    receipt = read_record(value, Receipt, where=where)
    for image in receipt.images:
        if image.chains != chain_ids(image.layers):
            raise BundleError(f"{where}: {image.id}: its chain ids are not those of its layers")
    return receipt
