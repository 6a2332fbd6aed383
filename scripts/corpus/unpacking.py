"""Takes documents and pictures out of an archive that strangers made.

Of each regular file only the last part of its name is kept, so nothing can lead out of the folder; links,
devices and files of the wrong size are passed over.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

PDFS = frozenset({".pdf"})
PICTURES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif"}
    | {".jp2", ".j2k", ".avif", ".heic", ".heif", ".hif", ".pbm", ".pgm", ".ppm", ".pnm"}
)
LARGEST = 64 << 20  # bytes of one file
MOST_PDFS, MOST_PICTURES = 100, 50  # of one archive: no package may outweigh the others

_Item = TypeVar("_Item")


def unpack(
    archive: Path,
    folder: Path,
    *,
    pdfs: int = MOST_PDFS,
    pictures: int = MOST_PICTURES,
    largest: int = LARGEST,
) -> int:
    """Write at most so many PDFs and pictures of a tar archive into `folder`; returns how many are there.

    Files of more than `largest` bytes are left out. Names are made unique by the first eight digits of the
    content's SHA-256. Raises tarfile.TarError for an archive that is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        members = list(_wanted(opened, largest))
        for suffixes, most in ((PDFS, pdfs), (PICTURES, pictures)):
            of_a_kind = [member for member in members if _suffix(member) in suffixes]
            for member in spread(of_a_kind, most):
                extracted = opened.extractfile(member)
                if extracted is not None:
                    content = extracted.read()
                    (folder / name_for(member.name, content)).write_bytes(content)
    return sum(1 for _ in folder.iterdir())


def spread(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most `most` of the items, evenly taken from all of them."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]


def name_for(path: str, content: bytes) -> str:
    """A file name for content that stood at `path` in an archive."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(path).name)
    return f"{hashlib.sha256(content).hexdigest()[:8]}-{safe[-100:]}"


def _wanted(opened: tarfile.TarFile, largest: int) -> Iterator[tarfile.TarInfo]:
    for member in opened:
        if member.isreg() and 0 < member.size <= largest and _suffix(member) in PDFS | PICTURES:
            yield member


def _suffix(member: tarfile.TarInfo) -> str:
    return PurePosixPath(member.name).suffix.lower()
