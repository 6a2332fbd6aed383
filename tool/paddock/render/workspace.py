"""Generated files in a workspace: writing them, and finding those that are out of date."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from paddock.matrix.images import TOOL, stack_images
from paddock.matrix.records import Stack
from paddock.matrix.registry import Registry
from paddock.render.renderer import BAKE_FILE, Files, Renderer
from paddock.stack.envfile import is_tuned, keep_settings

GENERATED = ("images", "compose")  # folders that hold nothing else: what nothing generates any more is stale

_OVERRIDES = frozenset(
    {"compose.override.yaml", "compose.override.yml"}
)  # a user's own, which Compose reads by itself


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


# --- a workspace on disk ------------------------------------------------------------------------------------


def differences(files: Files, workspace: Path) -> list[Difference]:
    """What in `workspace` is not as in `files`, in order of path."""
    found = [
        Difference(path=path, fault=fault)
        for path, text in files.items()
        if (fault := _fault(workspace / path, text)) is not None
    ]
    found += [Difference(path=path, fault=Fault.STALE) for path in _present(workspace) if path not in files]
    return sorted(found, key=lambda difference: difference.path)


def write_files(files: Files, workspace: Path, *, remove: bool = True) -> list[Difference]:
    """Bring `workspace` to `files`; returns what changed. Settings that somebody made in an .env are kept.

    With `remove`, generated files that nothing generates any more are removed.
    """
    changed = [each for each in differences(files, workspace) if remove or each.fault is not Fault.STALE]
    for difference in changed:
        path = workspace / difference.path
        if difference.fault is Fault.STALE:
            path.unlink()
            _remove_empty_parents(path.parent, workspace)
        else:
            _replace(path, _with_kept_settings(path, files[difference.path]))
    return changed


def present_stacks(data: Registry, workspace: Path) -> list[Stack]:
    """The stacks of compose/ whose model is not the default one; they are kept current with the others."""
    folder = workspace / "compose"
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return [stack for stack in data.all_stacks() if stack.name in names]


def include(stack: Stack, data: Registry, templates: Path, workspace: Path) -> list[Difference]:
    """Bring what `stack` needs into a workspace that lacks it; returns what is there and differs, left as it
    is.

    The bake file lists every stack of the workspace, so it is written again.
    """
    files = Renderer(templates).all(data, also=[*present_stacks(data, workspace), stack])
    return _include(
        files, {f"compose/{stack.name}", *(image.context for image in stack_images(stack))}, workspace
    )


def include_tool(data: Registry, templates: Path, workspace: Path) -> list[Difference]:
    """The same for what the tool's image needs."""
    files = Renderer(templates).all(data, also=present_stacks(data, workspace))
    return _include(files, {TOOL.context}, workspace)


def _include(files: Files, folders: Collection[str], workspace: Path) -> list[Difference]:
    found = differences(files, workspace)
    missing = [
        each.path
        for each in found
        if each.fault is Fault.MISSING
        and not {str(parent) for parent in each.path.parents}.isdisjoint(folders)
    ]
    wanted = [*missing, *(each.path for each in found if each.path == BAKE_FILE)]
    write_files({path: files[path] for path in wanted}, workspace, remove=False)
    return [each for each in found if each.fault is Fault.DIFFERENT and each.path != BAKE_FILE]


def _fault(path: Path, text: str) -> Fault | None:
    if not path.is_file():
        return Fault.MISSING
    return None if path.read_text("utf-8") == _with_kept_settings(path, text) else Fault.DIFFERENT


def _present(workspace: Path) -> Iterator[PurePosixPath]:
    for top in GENERATED:
        for path in sorted((workspace / top).rglob("*")):
            if path.is_file() and path.name not in _OVERRIDES:
                yield PurePosixPath(path.relative_to(workspace).as_posix())


def _with_kept_settings(path: Path, text: str) -> str:
    """`text` of an .env with the values and the further variables of the file that is there; a tuned file as
    it is.
    """
    if is_tuned(path):
        return path.read_text("utf-8")
    if path.name != ".env" or not path.is_file():
        return text
    return keep_settings(text, path.read_text("utf-8"))


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _remove_empty_parents(folder: Path, workspace: Path) -> None:
    while folder != workspace and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
