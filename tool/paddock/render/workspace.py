"""Generated files in a workspace: writing them, and finding those that are not current."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from paddock.durable import write_durably
from paddock.errors import DataError
from paddock.matrix.images import StackImage, stack_images
from paddock.matrix.records import Stack
from paddock.matrix.registry import Registry
from paddock.render.renderer import BAKE_FILE, UPSTREAM_PROGRAMS, Files, Renderer
from paddock.stack.envfile import is_tuned, keep_settings
from paddock.stack.folder import OVERRIDE_FILES

GENERATED = ("images", "compose")  # folders that hold nothing else: what nothing generates any more is stale


class Fault(StrEnum):
    """How a generated file on disk is not what it should be."""

    MISSING = "missing"
    DIFFERENT = "different"
    STALE = "stale"  # nothing generates it any more


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One generated file that is not current."""

    path: PurePosixPath
    fault: Fault


def differences(files: Files, workspace: Path) -> list[Difference]:
    """What in `workspace` is not as in `files`, in order of path."""
    faults = {path: _fault(workspace / path, text) for path, text in files.items()}
    faults |= {path: Fault.STALE for path in _present(workspace) if path not in files}
    return [Difference(path=path, fault=fault) for path, fault in sorted(faults.items()) if fault is not None]


def write_files(files: Files, workspace: Path, *, remove: bool = True) -> list[Difference]:
    """Bring `workspace` to `files` and return what changed.

    The settings that a user made in an .env are kept. With `remove`, files that nothing generates any more
    are removed.
    """
    changed = differences(files, workspace)
    if not remove:
        changed = [difference for difference in changed if difference.fault is not Fault.STALE]
    for difference in changed:
        path = workspace / difference.path
        if difference.fault is Fault.STALE:
            path.unlink()
            _remove_empty_parents(path.parent, workspace)
        else:
            _make_folder(path.parent)
            data, mode = _with_kept_settings(path, files[difference.path]), _mode(path)
            write_durably(path, data, mode=mode)
            with suppress(PermissionError):  # disks without modes
                path.chmod(mode)
    return changed


def present_stacks(data: Registry, workspace: Path) -> list[Stack]:
    """The stacks that have a folder in compose/, whatever their model; `render` keeps them current."""
    folder = workspace / "compose"
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return [stack for stack in data.all_stacks() if stack.name in names]


def include(stack: Stack, data: Registry, templates: Path, workspace: Path) -> list[Difference]:
    """Write what `stack` needs and the workspace lacks, and the bake file, which lists every stack.

    Returns the files of the stack that are there and differ; they are left as they are.
    """
    files = Renderer(templates).all(data, also=[*present_stacks(data, workspace), stack])
    contexts = (image.context for image in stack_images(stack))
    return _include(files, {f"compose/{stack.name}", str(UPSTREAM_PROGRAMS), *contexts}, workspace)


def include_shared(
    images: Iterable[StackImage], data: Registry, templates: Path, workspace: Path
) -> list[Difference]:
    """Do the same for what these images need, which all targets share."""
    files = Renderer(templates).all(data, also=present_stacks(data, workspace))
    return _include(files, {image.context for image in images}, workspace)


def _include(files: Files, folders: Collection[str], workspace: Path) -> list[Difference]:
    changed: list[Difference] = []
    wanted: list[PurePosixPath] = []
    for difference in differences(files, workspace):
        is_below_folders = any(str(parent) in folders for parent in difference.path.parents)
        if difference.path == BAKE_FILE or (difference.fault is Fault.MISSING and is_below_folders):
            wanted.append(difference.path)
        elif difference.fault is Fault.DIFFERENT:
            changed.append(difference)
    write_files({path: files[path] for path in wanted}, workspace, remove=False)
    return changed


def _fault(path: Path, text: str) -> Fault | None:
    if not path.is_file():
        return Fault.MISSING
    return None if path.read_bytes() == _with_kept_settings(path, text) else Fault.DIFFERENT


def _present(workspace: Path) -> Iterator[PurePosixPath]:
    for top in GENERATED:
        for path in sorted((workspace / top).rglob("*")):
            if path.is_file() and path.name not in OVERRIDE_FILES:
                yield PurePosixPath(path.relative_to(workspace).as_posix())


def _with_kept_settings(path: Path, text: str) -> bytes:
    """What to write to `path`: an .env keeps what is in it, and a tuned file stays as it is.

    So does an .env that Compose refuses: `paddock up` says where the fault is.
    """
    if is_tuned(path):
        return path.read_bytes()
    if path.name != ".env" or not path.is_file():
        return text.encode()
    try:
        return keep_settings(text.encode(), path.read_bytes(), path)
    except DataError:
        return path.read_bytes()


def _mode(path: Path) -> int:
    """The mode of a file: that of an .env that is there, since a password may stand in it; else by the umask.

    Whatever the umask, everybody may read the others: images keep these modes, and containers run as other
    users than whoever renders.
    """
    if path.name == ".env":
        return stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o666 & ~_umask()
    return 0o666 & ~_umask() | 0o444


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, for everybody to look into."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        with suppress(PermissionError):
            folder.chmod(0o777 & ~_umask() | 0o555)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove_empty_parents(folder: Path, workspace: Path) -> None:
    while folder != workspace and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
