"""`paddock doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.stackoptions import complete_target
from paddock.errors import PreflightError

if TYPE_CHECKING:
    from paddock.building.doctor import Check


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
    from paddock import paths
    from paddock.building import doctor as checks
    from paddock.building.settings import build_settings
    from paddock.matrix import pins
    from paddock.matrix.load import load_registry, load_shared_images

    templates = paths.templates()
    data = load_registry(templates)
    chosen = [data.stack(target=name).target for name in targets] or list(data.targets.values())
    results = checks.check_machine()
    if online:
        build = build_settings(paths.workspace(), {"BASE_REGISTRY": base_registry})
        shared = checks.NONE if targets else load_shared_images(templates)
        results += checks.check_base_images(
            [*checks.wanted(chosen, shared), *checks.wanted_of_upstream(chosen)],
            pins.load(templates),
            base_registry=build.base_registry,
            ca_bundle=build.ca_bundle,
            report=console.TerminalReporter(),
        )
    _show(results, as_json=as_json)
    unwell = [check for check in results if not check.well]
    if unwell:
        raise PreflightError(f"{len(unwell)} of {len(results)} checks are not well", hint=unwell[0].hint)


def _show(checks: Sequence[Check], *, as_json: bool) -> None:
    if as_json:
        console.result_json([asdict(check) for check in checks])
        return
    rows = [("well" if check.well else "NOT WELL", check.what, _summary(check)) for check in checks]
    console.table(("CHECK", "OF", "FOUND"), rows)


def _summary(check: Check) -> str:
    first = check.found.splitlines()[0] if check.found else ""
    return first if check.well or not check.hint else f"{first} ({check.hint})"
