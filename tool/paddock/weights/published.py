"""What a source publishes about a file, and whether a file on disk agrees with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import SourceError

OTHER_HINT = (  # where a file is not the one that templates/models records
    "look at what upstream changed; a newer paddock may know it, and UNLOCKED_WEIGHTS=1 takes it unseen"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What the source says a file is, apart from the answer that carries it."""

    size: int | None = None  # bytes
    sha256: str | None = None
    git_blob: str | None = None  # git's SHA-1 name of the content, for files outside Git LFS

    @property
    def hashed(self) -> bool:
        """Whether wrong content would be noticed."""
        return self.sha256 is not None or self.git_blob is not None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def matches(path: Path, published: Published) -> bool:
    """Whether a file has the published size and hash; False where no hash was published."""
    try:
        verified(path, published, where=str(path))
    except SourceError:
        return False
    return published.hashed


def verified(path: Path, published: Published, *, where: str) -> str:
    """Return the SHA-256 of a file once it agrees with what was published.

    Raises SourceError, its message beginning with `where`, for another size or content.
    """
    size = path.stat().st_size
    if published.size is not None and size != published.size:
        raise SourceError(f"{where}: found {size:,} bytes, expected {published.size:,} as published")
    digest = sha256_of(path)
    if published.sha256 is not None and digest != published.sha256.lower():
        raise SourceError(f"{where}: found SHA-256 {digest}, expected {published.sha256} as published")
    if published.git_blob is not None:
        blob = _git_blob(path, size)
        if blob != published.git_blob:
            raise SourceError(f"{where}: found git blob {blob}, expected {published.git_blob} as published")
    return digest


def _git_blob(path: Path, size: int) -> str:
    """Return the name that git gives to a file's content (git-hash-object)."""
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()
