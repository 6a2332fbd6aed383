"""Reading the folder of a bundle: its manifest, how much is carried, and every byte of it."""

from __future__ import annotations

from pathlib import Path

from paddock.bundle.format.manifest import MANIFEST, Manifest, parse


def manifest_of(folder: Path) -> Manifest:
    return parse((folder / MANIFEST).read_bytes())


def size_of_parts(folder: Path) -> int:
    return sum(part.size for part in manifest_of(folder).parts)


def contents_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
