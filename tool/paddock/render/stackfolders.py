"""Finding the folder of a stack by its name; a stack that is not committed is rendered on the spot."""

from __future__ import annotations

import os
import re
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
from paddock.stack.folder import COMPOSE_FILE, StackFolder, short


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
    _refuse_bad_project(project)
    given = Path(target_or_dir).expanduser()
    if (given / COMPOSE_FILE).is_file():
        if backend or model or offline:
            raise UsageError(
                f"{target_or_dir}: a folder's stack is fixed, found --backend, --model or --offline"
            )
        path, called, options = given.resolve(), target_or_dir, ""
    elif os.sep in target_or_dir or target_or_dir in (".", ".."):
        raise UsageError(
            f"{target_or_dir}: found no {COMPOSE_FILE} there", hint="name a target, or the folder of a stack"
        )
    else:
        data = load_registry(paths.templates())
        stack = data.stack(
            target=target_or_dir,
            backend=backend,
            model=model,
            variant=Variant.OFFLINE if offline else Variant.ONLINE,
        )
        path, called, options = _of_stack(stack, data, report), stack.name, _as_options(stack)
    return StackFolder(
        path=path, called=called, options=options, project=project, environment=FrozenDict(environment or {})
    )


def _refuse_bad_project(project: str | None) -> None:
    if project is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        raise UsageError(
            f'--project: found "{project}", expected lowercase letters, digits, - and _, not starting with - or _'
        )


def _as_options(stack: Stack) -> str:
    """The stack as one names it to `paddock up` and `paddock build`."""
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
            raise UsageError(f"{short(path)}: is not there, so this stack was never started from here")
        return path
    if not all((workspace / name).is_file() for name in Renderer(paths.templates()).stack(stack)):
        report.say(f"{short(path)}: is not whole; rendering what is missing")
        include(stack, data, paths.templates(), workspace)
    return path
