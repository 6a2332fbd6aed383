"""`paddock doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from paddock import console, paths
from paddock.building import settings
from paddock.building.doctor import Check, check_base_images, check_machine, wanted, wanted_of_upstream
from paddock.cli.stackoptions import complete_target
from paddock.errors import PreflightError
from paddock.matrix import pins
from paddock.matrix.load import load_registry, load_tool


@click.command("doctor")
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=complete_target)
@click.option("--online", is_flag=True, help="Ask each container registry whether the base images are there.")
@click.option("--base-registry", metavar="PREFIX", help="In front of every base image (BASE_REGISTRY).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, targets: tuple[str, ...], online: bool, base_registry: str | None, as_json: bool) -> None:
    """Check what a build needs, before an hour-long one.

    Without --online: Docker, Compose, Buildx and the room on this machine. With it also every base image of
    TARGET (of all targets and of the tool, without one) for each of its platforms, and the images that
    IMAGES=upstream would run. Nothing is pulled and nothing is changed.

    Exit status: 0 all is well; 9 something is not, or could not be asked.
    """
    templates = paths.templates()
    data = load_registry(templates)
    chosen = [data.stack(target=name).target for name in targets] or list(data.targets.values())
    found = check_machine()
    if online:
        build = settings.build_settings(paths.workspace(), {"BASE_REGISTRY": base_registry})
        found += check_base_images(
            [
                *wanted(chosen, None if targets else load_tool(templates)),
                *wanted_of_upstream(chosen),
            ],
            pins.load(templates),
            base_registry=build.base_registry,
            ca_bundle=build.ca_bundle,
            report=console.TerminalReporter(),
        )
    _show(found, as_json=as_json)
    unwell = [check for check in found if not check.well]
    if unwell:
        raise PreflightError(f"{len(unwell)} of {len(found)} checks are not well", hint=unwell[0].hint)


def _show(found: Sequence[Check], *, as_json: bool) -> None:
    if as_json:
        console.result_json([asdict(check) for check in found])
        return
    rows = [("well" if check.well else "NOT WELL", check.what, _whole(check)) for check in found]
    console.table(("CHECK", "OF", "FOUND"), rows)


def _whole(check: Check) -> str:
    first = check.found.splitlines()[0] if check.found else ""
    return first if check.well or not check.hint else f"{first} ({check.hint})"
