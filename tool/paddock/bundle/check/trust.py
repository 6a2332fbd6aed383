"""Whose bundles a site takes: the keys that it trusts, and the newest bundle of each stack that it has had.

A signature's trusted comment reads `bundle:<id> sequence:<number>`. The number rises with every signature of
the workshop, so an attempt to bring in an older bundle than the site has is noticed, however well that bundle
is signed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock.bundle.format.manifest import LARGEST, MANIFEST, SIGNATURE, Manifest
from paddock.bundle.format.reader import OpenBundle, read_whole
from paddock.bundle.format.signature import (
    LARGEST_KEY,
    PublicKey,
    SecretKey,
    Signature,
    parse_signature,
    read_public,
    sign,
)
from paddock.durable import write_durably, writing
from paddock.errors import BundleError

_COMMENT = re.compile(r"bundle:([0-9a-f]{16}) sequence:(0|[1-9][0-9]{0,17})")
_SEQUENCES = "sequences.json"


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
    _write(path, signature.to_bytes())
    return path


def check(bundle: OpenBundle, keys: Sequence[PublicKey]) -> Signed | None:
    """Who signed the bundle; None where it has no signature and `keys` is empty.

    With `keys`, one of them must have signed. Raises BundleError when none did, or the signature is wrong.
    """
    copies = bundle.copies(SIGNATURE)
    if not copies:
        if keys:
            raise BundleError(
                f"bundle {bundle.manifest.id}: has no signature, expected one by {_named(keys)}",
                hint=f"{SIGNATURE} was not copied, or the bundle was never signed: `paddock sign`",
            )
        return None
    where = str(copies[0])
    signature = parse_signature(read_whole(copies[0], LARGEST_KEY), where=where)
    sequence = _sequence(signature, bundle.manifest, where)
    if keys:
        _require_signed(signature, bundle.manifest, keys, where)
    return Signed(key_id=signature.key_id, sequence=sequence, checked=bool(keys))


def _require_signed(signature: Signature, manifest: Manifest, keys: Sequence[PublicKey], where: str) -> None:
    candidates = [key for key in keys if key.number == signature.number]
    if not candidates:
        raise BundleError(
            f"{where}: found a signature by key {signature.key_id}, expected one by {_named(keys)}",
            hint="if that key is the workshop's, pin it: `paddock bundle trust KEY.pub`",
        )
    if not any(signature.holds(manifest.to_bytes(), key) for key in candidates):
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
            hint="it belongs to another bundle, or was not made by `paddock sign`",
        )
    return int(match[2])


def _named(keys: Iterable[PublicKey]) -> str:
    return " or ".join(sorted({key.id for key in keys}))


# --- what a site remembers: its keys, and the sequence numbers that it has had ------------------------------


def pinned(state: Path) -> tuple[PublicKey, ...]:
    """The keys in `state`/keys.

    Raises BundleError for a file there that is no key: what it demands must not be lost.
    """
    return tuple(read_public(path) for path in sorted((state / "keys").glob("*.pub")))


def pin(key: PublicKey, state: Path) -> Path:
    """From now on accept only bundles signed by this key, or by another one that is pinned."""
    path = state / "keys" / f"{key.id}.pub"
    _write(path, key.to_bytes())
    return path


def check_sequence(manifest: Manifest, signed: Signed | None, state: Path) -> None:
    """Raise BundleError where the site has had a newer bundle of this stack, or of these images."""
    if signed is None or not signed.checked:
        return
    newest = _newest_sequences(state)
    for subject in _subjects_to_check(manifest):
        if newest.get(subject, 0) > signed.sequence:
            raise BundleError(
                f"bundle {manifest.id}: has sequence {signed.sequence}, expected at least {newest[subject]}:"
                f" a newer one for {subject.partition(':')[2]} was imported here",
                hint="an old bundle can bring old faults back; `paddock rollback` returns to the previous"
                " images, or sign this one again",
            )


def record_sequence(manifest: Manifest, signed: Signed | None, state: Path) -> None:
    """Remember the sequence number of a bundle that was imported, for `check_sequence`."""
    if signed is None or not signed.checked:
        return
    newest = _newest_sequences(state)
    for subject in _subjects(manifest):
        newest[subject] = max(signed.sequence, newest.get(subject, 0))
    _write(state / _SEQUENCES, json.dumps(newest, indent=1, sort_keys=True).encode() + b"\n")


def _subjects(manifest: Manifest) -> list[str]:
    """What a bundle brings: its stack, and each image by its name without the tag."""
    images = sorted({f"image:{_repository(image.reference)}" for image in manifest.images})
    return [f"stack:{manifest.stack.name}", *images] if manifest.stack else images


def _subjects_to_check(manifest: Manifest) -> list[str]:
    """What must not have been brought by a newer bundle.

    Stacks share images, so of a bundle with a stack only the stack is checked: the bundles of two stacks may
    be imported in any order.
    """
    return _subjects(manifest)[:1] if manifest.stack else _subjects(manifest)


def _repository(reference: str) -> str:
    name, _, tag = reference.partition("@")[0].rpartition(":")
    return reference if not name or "/" in tag else name


def _newest_sequences(state: Path) -> dict[str, int]:
    """The newest sequence number of each subject that the site has had."""
    path = state / _SEQUENCES
    if not path.exists():
        return {}
    try:
        sequences = json.loads(read_whole(path, LARGEST))
        return {str(subject): int(number) for subject, number in sequences.items()}
    except (ValueError, AttributeError, TypeError) as damaged:
        raise BundleError(
            f"{path}: is damaged ({damaged}), expected the newest sequence number of each stack",
            hint="restore it from a backup; without it an old bundle would not be noticed",
        ) from None


def _write(path: Path, data: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
