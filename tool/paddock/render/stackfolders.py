"""Finding the folder of a stack by its name; a stack that is not committed is rendered on the spot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddock import paths
from paddock.errors import UsageError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.load import load_registry
from paddock.matrix.records import Stack, Variant
from paddock.matrix.registry import Registry
from paddock.render.renderer import Renderer
from paddock.render.workspace import include
from paddock.report import Reporter
from paddock.stack.folder import COMPOSE_FILE, StackFolder, open_folder, short


def locate(
    target_or_dir: str,
    *,
    backend: str | None = None,
    model: str | None = None,
    offline: bool = False,
    project: str | None = None,
    environment: Mapping[str, str] | None = None,
    report: Reporter | None = None,
) -> StackFolder:
    """The folder of a stack: a path to one, or `<workspace>/compose/<stack>` of a target.

    With a `report`, what is missing in the folder of a target's stack is rendered; without, that is a
    UsageError. Raises UsageError and ConfigurationError as the registry does.
    """
    folder = open_folder(target_or_dir, project=project, environment=environment)
    if folder is not None:
        if backend or model or offline:
            raise UsageError(
                f"{target_or_dir}: a folder's stack is fixed, found --backend, --model or --offline"
            )
        return folder
    data = load_registry(paths.templates())
    stack = data.stack(
        target=target_or_dir, backend=backend, model=model, variant=Variant.of(offline=offline)
    )
    return StackFolder(
        path=_of_stack(stack, data, report),
        name=stack.name,
        options=_as_options(stack),
        project=project,
        environment=FrozenDict(environment or {}),
    )


def _as_options(stack: Stack) -> str:
    """The arguments that name the stack to `paddock up` and `paddock build`."""
    words = [stack.target.name]
    if stack.backend.name != stack.target.default_backend:
        words += ["--backend", stack.backend.name]
    if stack.model.name != stack.target.default_model:
        words += ["--model", stack.model.name]
    if stack.variant is Variant.OFFLINE:
        words.append("--offline")
    return " ".join(words)


def _of_stack(stack: Stack, data: Registry, report: Reporter | None) -> Path:
    workspace = paths.workspace()
    path = workspace / "compose" / stack.name
    if report is None:
        if not (path / COMPOSE_FILE).is_file():
            raise UsageError(
                f"{short(path)}: found no such folder, so this stack was never started from here"
            )
        return path
    if not all((workspace / name).is_file() for name in Renderer(paths.templates()).stack(stack)):
        report.say(f"{short(path)}: files are missing; rendering them")
        include(stack, data, paths.templates(), workspace)
    return path
