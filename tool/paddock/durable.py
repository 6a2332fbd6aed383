"""Writing to disks: files that are whole or not there even after a power cut, locks, and free space."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paddock.errors import BundleError, PaddockError, PreflightError, quoted, step_after

_WRITE_OUT_EVERY = 10  # seconds; more often, it slows down whoever writes
_LEFT_BEHIND = 3600  # seconds without a write, after which a partial file has no writer any more


@contextmanager
def writing(path: Path, *, raising: type[PaddockError] = BundleError) -> Iterator[None]:
    """Raise an error of the class `raising` that names `path` when the system refuses to write it."""
    try:
        yield
    except OSError as refused:
        raise raising(
            f"{path}: cannot be written ({refused.strerror or refused})",
            hint=_step_of_a_writer(refused, path),
        ) from refused


def _step_of_a_writer(refused: OSError, path: Path) -> str:
    if isinstance(refused, FileNotFoundError):
        return f"its folder is missing: `mkdir -p {quoted(path.parent)}`, then repeat the command"
    return step_after(refused, path)


def write_durably(
    path: Path, data: bytes, *, mode: int = 0o644, group: int | None = None, replace: bool = True
) -> None:
    """Write `path` under a partial name, flush it to the disk, then rename it.

    The file belongs to `group`, where one is named. What a killed process left of such a write is removed.
    Raises OSError as the system does, naming `path`, and FileExistsError when `replace` is False and it
    exists.
    """
    try:
        _write_durably(path, data, mode=mode, group=group, replace=replace)
    except OSError as refused:
        refused.filename, refused.filename2 = str(path), None
        raise


def _write_durably(path: Path, data: bytes, *, mode: int, group: int | None, replace: bool) -> None:
    _remove_leftovers(path)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as out:
            if group is not None:
                os.fchown(descriptor, -1, group)
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


def _remove_leftovers(path: Path) -> None:
    """Remove partial files of `path` that nobody has written to for a while: their writers were killed.

    They are in nobody's way, since no two writes share a name; this only keeps them from gathering.
    """
    ours = re.compile(re.escape(path.name) + r"\.[0-9a-f]{8}\.partial")
    with suppress(OSError):  # another process was quicker, or they are not ours to see or to remove
        for entry in path.parent.iterdir():
            if ours.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _LEFT_BEHIND:
                entry.unlink()


def _rename_to_free_name(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except OSError as refused:
        if refused.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        if path.exists():  # the closest that file systems without links (FAT, exFAT) come to it
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        partial.replace(path)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk; until then a power cut can undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_disk(folder: Path | None) -> None:
    """Flush the disk that `folder` lies on, or every disk where that is not known."""
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
    """Flush the disk of `folder` again and again meanwhile, so that a flush at the end has little left to do.

    Does nothing where the disk is not known: flushing every disk repeatedly would slow down everything else.
    """
    done = threading.Event()

    def write_out() -> None:
        while folder is not None and not done.wait(_WRITE_OUT_EVERY):
            with suppress(OSError):  # the flush at the end reports it
                flush_disk(folder)

    thread = threading.Thread(target=write_out, name="writing-out")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def locked(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[int]:
    """Hold the lock file `path` against other processes; yields its descriptor.

    The file is made when it is missing, and opened anew when its holder removed it meanwhile. If another
    process holds it, calls `waiting` once and waits; without `waiting`, raises BlockingIOError.
    """
    descriptor = _open_locked(path, waiting)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_locked(path: Path, waiting: Callable[[], None] | None) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # its folder was removed in between
            continue
        try:
            lock(descriptor, waiting=waiting)
        except BaseException:
            os.close(descriptor)
            raise
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def lock(descriptor: int, *, waiting: Callable[[], None] | None = None) -> None:
    """Lock an open file or folder until it is closed; see `locked`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is None:
            raise
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def free_bytes(folder: Path) -> int | None:
    """Free bytes where `folder` is or is to be made; None where the file system does not say."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    disk = shutil.disk_usage(existing)
    return disk.free if disk.total else None


def require_room(
    folder: Path, needed: int, what: str, *, hint: str, raising: type[PaddockError] = PreflightError
) -> None:
    """Raise an error of the class `raising` unless `folder` has `needed` bytes free for `what`."""
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise raising(f"{folder}: found {free:,} bytes free, expected {needed:,} for {what}", hint=hint)
