"""Files that are whole or not there, also after a power cut."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paddock.errors import BundleError

_WRITE_OUT_EVERY = 10  # seconds; more often, it holds up who writes


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What a disk refuses while `path` is written there, as an error that names it."""
    try:
        yield
    except OSError as failed:
        raise BundleError(
            f"{path}: cannot be written ({failed.strerror or failed})",
            hint="see that the disk has room and can be written, then repeat the command",
        ) from failed


def write_durably(path: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write `path` under a partial name, flush it to the disk, then rename it.

    Raises OSError as the system does, FileExistsError where `replace` is False and something has the name.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if replace:
            partial.replace(path)
        else:
            _rename_to_free_name(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    flush_folder(path.parent)


def _rename_to_free_name(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except OSError as refused:
        if refused.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        if path.exists():  # as near to it as a file system without links comes, such as FAT and exFAT
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        partial.replace(path)


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on the disk; a rename is not there before."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_disk(folder: Path | None) -> None:
    """Have everything on the disk that `folder` lies on, or on every disk where that is not known."""
    libc = ctypes.CDLL(None, use_errno=True)
    if folder is None or not hasattr(libc, "syncfs"):
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)


@contextmanager
def writing_out(folder: Path | None) -> Iterator[None]:
    """Have what others write to the disk of `folder` there soon, while they do: a flush at the end has little
    left.

    Does nothing where the disk is not known: to flush every disk again and again would be felt elsewhere.
    """
    done = threading.Event()

    def write_out() -> None:
        while folder is not None and not done.wait(_WRITE_OUT_EVERY):
            with suppress(OSError):  # the flush at the end says so
                flush_disk(folder)

    thread = threading.Thread(target=write_out, name="writing-out")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
