"""The arguments by which commands name a stack: a target with its choices, or a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click
from click.shell_completion import CompletionItem

from paddock import paths
from paddock.errors import PaddockError
from paddock.matrix.load import load_registry
from paddock.render.stackfolders import locate
from paddock.report import Reporter
from paddock.stack.folder import COMPOSE_FILE, StackFolder

_Function = TypeVar("_Function", bound=Callable[..., object])


def stack_options(command: _Function) -> _Function:
    """Add TARGET_OR_DIR, --backend, --model, --offline and --project to a command."""
    command = choices(command)
    return click.argument("target_or_dir", metavar="TARGET_OR_DIR", shell_complete=complete_target)(command)


def choices(command: _Function) -> _Function:
    """Add --backend, --model, --offline and --project to a command."""
    added = (
        click.option(
            "--backend", metavar="NAME", help="Serving program, where it is not the target's default."
        ),
        click.option("--model", metavar="NAME", help="Model, where it is not the target's default."),
        click.option("--offline", is_flag=True, help="The variant whose images hold the weights."),
        click.option("--project", metavar="NAME", help="Name of the stack; another name is another stack."),
    )
    for option in reversed(added):
        command = option(command)
    return command


def named_by(
    target_or_dir: str,
    backend: str | None,
    model: str | None,
    offline: bool,
    project: str | None,
    *,
    environment: Mapping[str, str] | None = None,
    report: Reporter | None = None,
) -> StackFolder:
    """The folder that these arguments name; see `stackfolder.locate`."""
    return locate(
        target_or_dir,
        backend=backend,
        model=model,
        offline=offline,
        project=project,
        environment=environment,
        report=report,
    )


def complete_target(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Targets, and folders with a compose.yaml."""
    try:
        targets = load_registry(paths.templates()).targets.values()
    except PaddockError:
        targets = ()  # type: ignore[assignment]
    found = [
        CompletionItem(each.name, help=each.description)
        for each in targets
        if each.name.startswith(incomplete)
    ]
    parent = Path(incomplete).parent if not incomplete.endswith("/") else Path(incomplete)
    folders = (str(each.parent) for each in sorted(parent.glob(f"*/{COMPOSE_FILE}")))
    return [*found, *(CompletionItem(each) for each in folders if each.startswith(incomplete))]
