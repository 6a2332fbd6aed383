"""The medium that a bundle is written to, a disk or a stick: the errors it gives, and what it cannot hold."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paddock.errors import BundleError, step_after

_CONTINUES = "the same command goes on where it stopped"
_FAT_LARGEST = (4 << 30) - 1  # bytes of one file
_FAT = frozenset({"vfat", "msdos", "fuse.fusefat"})
_MOUNTS = Path("/proc/self/mountinfo")  # proc(5)


@contextmanager
def medium_named(folder: Path) -> Iterator[None]:
    """Turn what the system refuses meanwhile into a BundleError that names the medium at `folder`."""
    try:
        yield
    except OSError as refused:
        if refused.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = f"make room there: {_CONTINUES}; or begin anew in another directory"
            raise BundleError(f"{folder}: the disk is full ({refused.strerror})", hint=hint) from refused
        hint = f"{step_after(refused, folder)}; {_CONTINUES}"
        raise BundleError(f"{folder}: cannot be written to ({refused})", hint=hint) from refused


def require_part_size(folder: Path, size: int, *, mounts: Path = _MOUNTS) -> None:
    """Raise BundleError when files of `size` bytes are too large for the file system of `folder`."""
    kind = file_system(folder, mounts)
    if kind in _FAT and size > _FAT_LARGEST:
        raise BundleError(
            f"{folder}: found parts of {size:,} bytes for a file system of type {kind},"
            f" which takes {_FAT_LARGEST:,}",
            hint="leave --part-size at its default, 3900M",
        )


def file_system(folder: Path, mounts: Path = _MOUNTS) -> str:
    """Linux's name for the type of the file system that a folder is on; empty if it cannot be told."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        if line.split()[2] == wanted:
            return line.partition(" - ")[2].split()[0]
    return ""
