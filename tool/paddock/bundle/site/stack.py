"""The stack folder of a bundle at the site: put in place as a whole, the one before it kept beside it.

`docker compose` and `paddock up` work in it. What the site has set stays: values in `.env`, and files that no
bundle brings, such as compose.override.yaml. Which images belong to it, the bundle decides.
"""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from paddock.bundle.format.manifest import Manifest
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.stackfiles import MARK, OF_THE_BUNDLE, STACK, files
from paddock.durable import flush_folder, write_durably, writing
from paddock.errors import BundleError
from paddock.stack import dotenv
from paddock.stack.envfile import is_tuned, keep_settings

_EXAMPLE, _SETTINGS = ".env.example", ".env"
_LARGEST = 64 << 20  # bytes of one file


def default_folder(state: Path, manifest: Manifest) -> Path | None:
    """Where a bundle's stack goes by default; None for a bundle without one."""
    if not files(manifest):
        return None
    return state / "stacks" / (manifest.stack.name if manifest.stack else "stack")


def origin(folder: Path) -> str:
    """The bundle that a stack folder came from; empty if it came from none."""
    return _mark(folder)[0]


def previous(folder: Path) -> Path:
    """Where the stack is kept that was in the folder before."""
    return folder.with_name(f"{folder.name}.previous")


def has_two(folder: Path) -> bool:
    """Whether a stack was kept that `exchange` can bring back."""
    return previous(folder).is_dir() or _aside(folder).is_dir()


def _aside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.exchange")


def require_readable_settings(folder: Path) -> None:
    """Raise DataError where a site's `.env` is not what Compose could read: nothing is imported over it."""
    settings = folder / _SETTINGS
    if settings.is_file():
        list(dotenv.statements(dotenv.decoded(settings.read_bytes()), settings))


def prepare(bundle: OpenBundle, folder: Path) -> Path:
    """Make the new folder beside its place, whole and on the disk, with the site's settings; its path."""
    new = folder.with_name(f"{folder.name}.incoming")
    shutil.rmtree(new, ignore_errors=True)
    brought = {file.path.removeprefix(STACK): file for file in files(bundle.manifest)}
    with writing(new):
        new.mkdir(parents=True)
        _copy_what_the_site_added(folder, new)
        for name, file in brought.items():
            if not is_tuned(new / name):
                _place(bundle.read_file(file, _LARGEST), new / name, executable=file.executable)
        _write_settings(new, folder)
        mark = [bundle.manifest.id, *brought]
        write_durably(new / MARK, "".join(f"{line}\n" for line in mark).encode())
        flush_folder(new)
    return new


def put_in_place(new: Path, folder: Path) -> None:
    """Move the prepared folder into its place, and what was there beside it. Can be repeated after a kill."""
    with writing(folder):
        if new.is_dir():
            if folder.is_dir():
                shutil.rmtree(previous(folder), ignore_errors=True)
                folder.rename(previous(folder))
            new.rename(folder)
        flush_folder(folder.parent)


def exchange(folder: Path, bundle: str, *, wanted: bool) -> None:
    """Have the folder of `bundle` in place if `wanted`, else the other one. Can be repeated after a kill."""
    aside = _aside(folder)
    if not aside.exists() and (origin(folder) == bundle) == wanted:
        return
    try:
        if not aside.exists():
            folder.rename(aside)
        if not folder.exists():
            previous(folder).rename(folder)
        aside.rename(previous(folder))
        flush_folder(folder.parent)
    except OSError as failed:
        raise BundleError(
            f"{folder}: cannot be exchanged with {previous(folder)} ({failed.strerror})"
        ) from failed


def _mark(folder: Path) -> list[str]:
    """The id of the bundle that a folder came from, then the names of the files that it brought."""
    try:
        return (folder / MARK).read_text("ascii").splitlines() or [""]
    except (OSError, UnicodeDecodeError):
        return [""]


def _copy_what_the_site_added(folder: Path, new: Path) -> None:
    """Copy what is in the folder, except for files of its bundle that were not tuned here."""
    if not folder.is_dir():
        return
    shutil.copytree(folder, new, symlinks=True, dirs_exist_ok=True)
    for name in _mark(folder)[1:]:
        if not is_tuned(new / name):
            (new / name).unlink(missing_ok=True)


def _place(data: bytes, path: Path, *, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    write_durably(path, data)
    path.chmod(0o755 if executable else 0o644)  # whatever the umask: containers run as other users


def _write_settings(new: Path, folder: Path) -> None:
    """Write `.env`: the site's, except for what chooses the bundle's images; without one, the example.

    A file that was there keeps its mode, because a password of a proxy may stand in it. Raises DataError
    where Compose could not read it.
    """
    example = new / _EXAMPLE
    if not example.is_file():
        return
    data, mode, before = example.read_bytes(), 0o644, folder / _SETTINGS
    if before.is_file():
        data = keep_settings(data, before.read_bytes(), before, but=OF_THE_BUNDLE)
        mode = stat.S_IMODE(before.stat().st_mode)
    write_durably(new / _SETTINGS, data, mode=mode)
    (new / _SETTINGS).chmod(mode)  # whatever the umask
