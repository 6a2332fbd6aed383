"""The list of revoked keys: a bundle can carry it, and sites keep it. Each line is a public key in base64.

That is the second line of the key's file, so `grep -xF` finds a key in the list.
"""

from __future__ import annotations

from collections.abc import Iterable

from paddock.bundle.format.signature import PublicKey

REVOKED = "revoked-keys.txt"
LARGEST = 1 << 20  # bytes of a list that is read at all


def parse_revoked(data: bytes, *, where: str) -> frozenset[PublicKey]:
    """The keys in a list. Raises BundleError for a line that is no key."""
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    return frozenset(
        PublicKey.from_line(line, where=f"{where}: line {number}") for number, line in enumerate(lines, 1)
    )


def revoked_to_bytes(keys: Iterable[PublicKey]) -> bytes:
    """The list of these keys; equal sets of keys give equal bytes."""
    return "".join(f"{line}\n" for line in sorted({key.line for key in keys})).encode()
