"""A receipt: which images and layers a site has, so that a delta can be made for it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.manifest import no_duplicates, read_record
from paddock.errors import BundleError

FORMAT = "paddock-receipt/1"
LARGEST = 16 << 20  # bytes of a receipt that is read at all


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldLayer:
    """A layer that the site has. `blob` is the digest of its blob in a containerd store; None in a classic
    one.
    """

    diff_id: str
    blob: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldImage:
    """An image of the site. `layers` and `chains` from the lowest to the top."""

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
    """What a site holds. `free` in bytes, -1 where the engine's disk cannot be seen."""

    format: str
    tool: str
    time: str
    platform: str
    store: str
    engine: str
    driver: str | None  # of the cards
    free: int
    bundles: tuple[HeldBundle, ...]
    images: tuple[HeldImage, ...]
    layers: tuple[HeldLayer, ...]

    def to_bytes(self) -> bytes:
        """The one way to write this receipt."""
        plain = dataclasses.asdict(self)
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def parse_receipt(data: bytes, *, where: str) -> Receipt:
    """The receipt in a file. Raises BundleError for anything that is not one."""
    if len(data) > LARGEST:
        raise BundleError(f"{where}: found {len(data)} bytes, expected at most {LARGEST}")
    try:
        found = json.loads(data, object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as wrong:
        raise BundleError(f"{where}: is not JSON: {wrong}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BundleError(
            f"{where}: is not a receipt in the format {FORMAT!r}", hint="`paddock receipt` writes one"
        )
    receipt = read_record(found, Receipt, where)
    for image in receipt.images:
        if image.chains != chain_ids(image.layers):
            raise BundleError(f"{where}: {image.id}: its chain ids are not those of its layers")
    return receipt
