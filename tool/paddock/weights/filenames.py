"""File names that somebody else chose: in a listing of a source, or in an archive."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from paddock.errors import WeightsError


def safe_path(name: str, where: str) -> PurePosixPath:
    """Return `name` as a relative path that stays below its directory.

    Raises WeightsError for absolute paths, `..`, empty names and control characters.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or re.search(r"[\x00-\x1f\x7f]", name):
        raise WeightsError(f"{where}: found file name {name!r}, expected a path below the weight set")
    return path


def hidden(path: PurePosixPath) -> bool:
    """Whether a path belongs to version control or to another tool, such as `.gitattributes` or `._x`."""
    return any(part.startswith(".") for part in path.parts)
