"""Who signed a bundle, and whether that key counts.

A signature's trusted comment reads `bundle:<id> sequence:<number>`. The number rises with every signature of
the workshop, so an older bundle than the site has is noticed (`sequences`), however well it is signed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock.bundle.check.keys import TrustedKey, write
from paddock.bundle.format.manifest import MANIFEST, SIGNATURE, Manifest
from paddock.bundle.format.reader import OpenBundle, read_whole
from paddock.bundle.format.signature import LARGEST_KEY, SecretKey, Signature, parse_signature, sign
from paddock.errors import BundleError

_COMMENT = re.compile(r"bundle:([0-9a-f]{16}) sequence:(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """Who signed a bundle, and its sequence number. `checked` is False where no key was given to check it."""

    key_id: str
    sequence: int
    checked: bool


def sign_bundle(bundle: OpenBundle, key: SecretKey, *, sequence: int | None = None) -> Path:
    """Write the signature beside bundle.json; the sequence number is the time in seconds by default."""
    manifest = bundle.manifest
    number = int(time.time()) if sequence is None else sequence
    signature = sign(manifest.to_bytes(), key, f"bundle:{manifest.id} sequence:{number}")
    path = bundle.path(MANIFEST).with_name(SIGNATURE)
    write(path, signature.to_bytes())
    return path


def check(bundle: OpenBundle, keys: Sequence[TrustedKey]) -> Signed | None:
    """Who signed the bundle; None where it has no signature and `keys` is empty.

    With `keys`, one of them that counts today must have signed. Raises BundleError when none did, or the
    signature is wrong.
    """
    copies = bundle.copies(SIGNATURE)
    if not copies:
        if keys:
            raise BundleError(
                f"bundle {bundle.manifest.id}: has no signature, expected one by {_named(keys)}",
                hint=f"{SIGNATURE} was not copied, or the workshop has not signed the bundle yet:"
                " `paddock sign DIR --key KEY`",
            )
        return None
    where = str(copies[0])
    signature = parse_signature(read_whole(copies[0], LARGEST_KEY), where=where)
    sequence = _sequence(signature, bundle.manifest, where)
    if keys:
        _require_signed(signature, bundle.manifest, keys, where)
    return Signed(key_id=signature.key_id, sequence=sequence, checked=bool(keys))


def _require_signed(signature: Signature, manifest: Manifest, keys: Sequence[TrustedKey], where: str) -> None:
    candidates = [trusted for trusted in keys if trusted.key.number == signature.number]
    if not candidates:
        raise BundleError(
            f"{where}: found a signature by key {signature.key_id}, expected one by {_named(keys)}",
            hint="if that key is the workshop's, pin it: `paddock trust add KEY.pub`",
        )
    for trusted in candidates:
        if trusted.trouble:
            raise BundleError(
                f"{where}: found a signature by key {signature.key_id}, which {trusted.trouble}",
                hint="take a bundle that the workshop signed with the key that it has now;"
                " `paddock trust list` shows which keys count here",
            )
    if not any(signature.holds(manifest.to_bytes(), trusted.key) for trusted in candidates):
        raise BundleError(
            f"{where}: the signature of key {signature.key_id} does not hold:"
            " the bundle was changed after it was signed",
            hint="take the bundle from the workshop again; do not import this one",
        )


def _sequence(signature: Signature, manifest: Manifest, where: str) -> int:
    match = _COMMENT.fullmatch(signature.comment)
    if match is None or match[1] != manifest.id:
        raise BundleError(
            f"{where}: found the comment {signature.comment!r},"
            f" expected 'bundle:{manifest.id} sequence:<number>'",
            hint="it belongs to another bundle, or was not made by paddock: `paddock sign DIR --key KEY` is",
        )
    return int(match[2])


def _named(keys: Iterable[TrustedKey]) -> str:
    counting = sorted({trusted.key.id for trusted in keys if not trusted.trouble})
    return " or ".join(counting) or "a key that counts"
