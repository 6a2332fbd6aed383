"""The arguments by which commands name a stack: a target with its choices, or the folder of a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from paddock.errors import PaddockError, UsageError

if TYPE_CHECKING:
    from paddock.matrix.records import Stack
    from paddock.matrix.registry import Registry
    from paddock.report import Reporter
    from paddock.stack.folder import StackFolder

Command = Callable[..., None]


@dataclass(frozen=True, kw_only=True, slots=True)
class StackChoice:
    """Which stack the command line names: a target or the stack's folder, and what is not to be the default.

    None where nothing was given.
    """

    target: str | None
    backend: str | None = None
    model: str | None = None
    offline: bool = False
    project: str | None = None

    @property
    def has_options(self) -> bool:
        """Whether any of --backend, --model and --offline was given: none of them goes without a target."""
        return bool(self.backend or self.model or self.offline)

    def stack(self, known: Registry) -> Stack:
        """The stack of the target. Raises UsageError and ConfigurationError as the registry does."""
        from paddock.matrix.records import Variant

        if self.target is None:
            raise UsageError("found no TARGET, expected one", hint=f"targets: {', '.join(known.targets)}")
        variant = Variant.of(offline=self.offline)
        return known.stack(target=self.target, backend=self.backend, model=self.model, variant=variant)

    def folder(
        self, *, environment: Mapping[str, str] | None = None, report: Reporter | None = None
    ) -> StackFolder:
        """The folder of the stack. Only the name of a target needs templates, registry and renderer.

        With a `report`, what is missing in the folder of a target's stack is rendered; without, that is a
        UsageError.
        """
        from paddock.stack.folder import open_folder

        if self.target is None:
            raise UsageError("found no TARGET, expected one")
        folder = open_folder(self.target, project=self.project, environment=environment)
        if folder is not None and not self.has_options:
            return folder
        from paddock.render.stackfolders import locate

        return locate(
            self.target,
            backend=self.backend,
            model=self.model,
            offline=self.offline,
            project=self.project,
            environment=environment,
            report=report,
        )


def stack_options(
    argument: str, metavar: str, *, required: bool = True, project: bool = False
) -> Callable[[Command], Command]:
    """Add an argument that names a stack, --backend, --model and --offline, and with `project` --project.

    The command is handed all of them as `choice`, a StackChoice.
    """
    parameters = [
        click.argument(argument, metavar=metavar, required=required, shell_complete=complete_target),
        click.option(
            "--backend", metavar="NAME", help="Serving program, where it is not the target's default."
        ),
        click.option("--model", metavar="NAME", help="Model, where it is not the target's default."),
        click.option("--offline", is_flag=True, help="The variant whose images hold the weights."),
    ]
    if project:
        about = "Name of the stack; another name is another stack."
        parameters.append(click.option("--project", metavar="NAME", help=about))

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_choice(
            *,
            backend: str | None,
            model: str | None,
            offline: bool,
            project: str | None = None,
            **others: object,
        ) -> None:
            target = others.pop(argument)
            choice = StackChoice(
                target=None if target is None else str(target),
                backend=backend,
                model=model,
                offline=offline,
                project=project,
            )
            command(choice=choice, **others)

        decorated: Command = with_choice
        for parameter in reversed(parameters):
            decorated = parameter(decorated)
        return decorated

    return decorate


def complete_target(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Targets, and folders with a compose.yaml."""
    return [*_targets(incomplete), *_folders(incomplete)]


def _targets(incomplete: str) -> list[CompletionItem]:
    if "/" in incomplete:
        return []
    from paddock import paths
    from paddock.matrix.load import load_registry

    try:
        targets = load_registry(paths.templates()).targets.values()
    except PaddockError:
        return []
    return [
        CompletionItem(target.name, help=target.description)
        for target in targets
        if target.name.startswith(incomplete)
    ]


def _folders(incomplete: str) -> list[CompletionItem]:
    from paddock.stack.folder import COMPOSE_FILE

    parent, slash, name = incomplete.rpartition("/")
    found = sorted(Path(f"{parent}{slash}").glob(f"*/{COMPOSE_FILE}"))
    names = [path.parent.name for path in found if path.parent.name.startswith(name)]
    return [CompletionItem(f"{parent}{slash}{name}") for name in names]
