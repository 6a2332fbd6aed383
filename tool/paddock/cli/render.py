"""`paddock render`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.stackoptions import StackChoice, stack_options
from paddock.errors import OutOfDateError, quoted

if TYPE_CHECKING:
    from paddock.render.workspace import Difference


@click.command("render")
@stack_options("target", "[TARGET]", required=False)
@click.option("--check", is_flag=True, help="Write nothing; exit 4 and name each file that is not current.")
@click.option("--output", "-o", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
def render(*, choice: StackChoice, check: bool, output: Path | None) -> None:
    """Write images/, compose/ and the image builds of continuous integration from the templates.

    Without TARGET: every target with its default model, and whatever other stacks lie in compose/. With
    TARGET: that one stack too, for a model that is not the target's default.
    """
    from paddock import paths
    from paddock.matrix.load import load_registry
    from paddock.render.renderer import Renderer
    from paddock.render.workspace import Fault, differences, present_stacks, write_files

    templates = paths.templates()
    data = load_registry(templates)
    workspace = output or paths.workspace()
    also = present_stacks(data, workspace)
    if choice.target is not None:
        also.append(choice.stack(data))
    files = Renderer(templates).all(data, also=also)
    if check:
        _refuse_differences(differences(files, workspace), len(files), _command(choice, output))
        return
    done = {Fault.MISSING: "created", Fault.DIFFERENT: "updated", Fault.STALE: "removed"}
    for change in write_files(files, workspace):
        console.result(f"{done[change.fault]} {change.path}")
    console.TerminalReporter().say(f"{len(files)} files are current in {workspace}")


def _command(choice: StackChoice, output: Path | None) -> str:
    """What writes the files that a check with these options looks at."""
    options = [("--backend", choice.backend), ("--model", choice.model), ("--output", output)]
    words = ["paddock", "render", *([choice.target] if choice.target else [])]
    words += [str(word) for option in options if option[1] for word in option]
    return " ".join(map(quoted, [*words, *(["--offline"] if choice.offline else [])]))


def _refuse_differences(found: list[Difference], count: int, command: str) -> None:
    for difference in found:
        console.result(f"{difference.fault} {difference.path}")
    if found:
        raise OutOfDateError(
            f"{len(found)} generated files are not current, expected all {count} to equal a fresh render",
            hint=f"`{command}` writes them",
        )
    console.TerminalReporter().say(f"{count} generated files are current")
