"""`paddock render`."""

from __future__ import annotations

from pathlib import Path

import click

from paddock import console, paths
from paddock.errors import OutOfDateError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant
from paddock.render.renderer import Renderer
from paddock.render.workspace import Difference, Fault, differences, present_stacks, write_files


@click.command("render")
@click.argument("target", required=False)
@click.option("--backend", help="Serving program; the target's default otherwise.")
@click.option("--model", help="Model; the target's default otherwise.")
@click.option("--offline", is_flag=True, help="The variant whose images hold the weights.")
@click.option("--check", is_flag=True, help="Write nothing; exit 4 and name each file that is not current.")
@click.option("--output", "-o", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
def render(
    *,
    target: str | None,
    backend: str | None,
    model: str | None,
    offline: bool,
    check: bool,
    output: Path | None,
) -> None:
    """Write images/, compose/ and the image builds of continuous integration from the templates.

    Without TARGET: every target with its default model, and whatever other stacks lie in compose/. With
    TARGET: that one stack too, for a model that is not the target's default.
    """
    templates = paths.templates()
    data = load_registry(templates)
    workspace = output or paths.workspace()
    also = present_stacks(data, workspace)
    if target is not None:
        variant = Variant.OFFLINE if offline else Variant.ONLINE
        also.append(data.stack(target=target, backend=backend, model=model, variant=variant))
    files = Renderer(templates).all(data, also=also)
    if check:
        _refuse_differences(differences(files, workspace), len(files))
        return
    for change in write_files(files, workspace):
        console.result(f"{_DID[change.fault]} {change.path}")
    console.TerminalReporter().say(f"{len(files)} files are current in {workspace}")


_DID = {Fault.MISSING: "created", Fault.DIFFERENT: "updated", Fault.STALE: "removed"}


def _refuse_differences(found: list[Difference], count: int) -> None:
    for difference in found:
        console.result(f"{difference.fault} {difference.path}")
    if found:
        raise OutOfDateError(
            f"{len(found)} generated files are not current, expected all {count} to equal a fresh render",
            hint="paddock render",
        )
    console.TerminalReporter().say(f"{count} generated files are current")
