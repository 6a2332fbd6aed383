"""The newest bundles that a site has had: what is older is refused, however well it is signed.

Each signature of the workshop has a number that is higher than those before, the time in seconds. What had
which number is in sequences.json of the state folder, which load.sh reads, too: `stack:NAME`, the stack;
`image:NAME`, an image without its tag; `name:NAME:TAG@sha256:CONFIG`, the image that a name was given last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from paddock.bundle.check.keys import write
from paddock.bundle.check.trust import Signed
from paddock.bundle.format.manifest import LARGEST, Image, Manifest
from paddock.bundle.format.reader import read_whole
from paddock.errors import BundleError

_FILE = "sequences.json"


def check(
    manifest: Manifest,
    signed: Signed | None,
    state: Path,
    *,
    allow_older: bool = False,
    folders: str = "DIR",
) -> None:
    """Raise BundleError where the site has had a newer bundle of this stack or of these images.

    Stacks share images, so the bundles of two stacks may come in any order as long as no name moves to an
    older image; of a bundle without a stack no image may be older, whatever its tag. A number ahead of this
    host's clock is always refused: once recorded, it would keep out every bundle after it. `folders` are
    those of the bundle, as a command names them.
    """
    if signed is None or not signed.checked:
        return
    if ahead(signed.sequence):
        raise BundleError(
            f"bundle {manifest.id}: has sequence {signed.sequence}, which is more than a day ahead of this"
            f" host's clock ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {int(time.time())})",
            hint="set the clock that is wrong: this host's (`date`), or the workshop's, and then have the"
            " bundle signed again (`paddock sign DIR --key KEY`)",
        )
    if allow_older:
        return
    for what, number in _newer(manifest, signed.sequence, _recorded(state)):
        raise BundleError(
            f"bundle {manifest.id}: has sequence {signed.sequence}, expected at least {number}:"
            f" a newer one for {what} was imported here",
            hint="an old bundle can bring old faults back; `paddock rollback` returns to the previous images,"
            f" `paddock import --allow-older {folders}` imports this one all the same",
        )


def record(manifest: Manifest, signed: Signed | None, state: Path, *, allow_older: bool = False) -> None:
    """Remember the number of a bundle that was imported, for `check`.

    With `allow_older` it counts although it is lower than what was recorded: that is what is here now.
    """
    if signed is None or not signed.checked:
        return
    had = _recorded(state)
    for image in manifest.images:
        others = [subject for subject in had if _is_of(image, subject) and subject != _named(image)]
        for subject in others:
            del had[subject]
    for subject in (*_subjects(manifest), *map(_named, manifest.images)):
        had[subject] = signed.sequence if allow_older else max(signed.sequence, had.get(subject, 0))
    write(state / _FILE, json.dumps(had, indent=1, sort_keys=True).encode() + b"\n")


def ahead(sequence: int) -> bool:
    """Whether a number is more than a day ahead of this machine's clock."""
    return sequence > time.time() + 24 * 60 * 60


def _newer(manifest: Manifest, sequence: int, had: dict[str, int]) -> Iterator[tuple[str, int]]:
    """What was brought here by a newer bundle than this one, and the number of that."""
    subjects = _subjects(manifest)
    for subject in subjects[:1] if manifest.stack else subjects:
        if had.get(subject, 0) > sequence:
            yield subject.partition(":")[2], had[subject]
    for image in manifest.images:
        for subject, number in had.items():
            if _is_of(image, subject) and subject != _named(image) and number > sequence:
                yield image.reference, number


def _subjects(manifest: Manifest) -> list[str]:
    """What a bundle brings: its stack, and each image by its name without the tag."""
    images = sorted({f"image:{_repository(image.reference)}" for image in manifest.images})
    return [f"stack:{manifest.stack.name}", *images] if manifest.stack else images


def _named(image: Image) -> str:
    return f"name:{image.reference}@{image.config}"


def _is_of(image: Image, subject: str) -> bool:
    """Whether a subject says which image the name of `image` was given."""
    return subject.rpartition("@")[0] == f"name:{image.reference}"


def _repository(reference: str) -> str:
    name, _, tag = reference.partition("@")[0].rpartition(":")
    return reference if not name or "/" in tag else name


def _recorded(state: Path) -> dict[str, int]:
    """The newest number of each subject that the site has had."""
    path = state / _FILE
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
