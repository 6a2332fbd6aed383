"""Building: the two images of a stack, or the tool's own image, with `docker buildx bake`.

`plan` is pure: a group of the bake file and settings become one command and its environment. `build_images`
and `build_tool` see to the base images first, run the command and tell which step failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from paddock import engine, paths
from paddock.building.bake import bake_plan, run
from paddock.building.bases import bases, have_base
from paddock.building.origin import git_revision, source_date_epoch
from paddock.building.settings import BuildSettings
from paddock.errors import EngineError, WeightsError
from paddock.matrix.images import TOOL, StackImage, stack_images
from paddock.matrix.load import load_tool
from paddock.matrix.records import Platform, Stack, Variant, WeightsRole
from paddock.matrix.registry import Registry
from paddock.render.workspace import Difference, include, include_tool
from paddock.report import Reporter


def build_images(
    stack: Stack,
    settings: BuildSettings,
    *,
    data: Registry,
    workspace: Path,
    report: Reporter,
    stand_ins: Mapping[str, str] | None = None,
    stand_in_packages: bool = False,
    no_cache: bool = False,
) -> tuple[str, ...]:
    """Build the images of `stack` and return their references.

    What the workspace lacks of generated files is rendered from `data` first; what somebody changed is built
    as it is. An offline pipeline API holds the weights of the document preprocessor when they are in the
    models directory. Raises EngineError, WeightsError (offline, weights missing), ProgramError with the end
    of the step that failed.
    """
    platform = _platform(f"target {stack.target.name}", stack.target.platforms)
    engine.require_buildx()
    images = stack_images(stack)
    if stack.variant is Variant.OFFLINE:
        _require_weights(stack, settings.models_dir)
    _warn_of_changes(include(stack, data, paths.templates(), workspace), report)
    preprocessor = stack.variant is Variant.OFFLINE and _with_preprocessor(
        images, settings.models_dir, report
    )
    if stand_in_packages:
        _warn_of_stand_ins(images, report)
    for base in bases(stack):
        have_base(base, platform, settings.base_registry, stand_ins or {}, report)
    command = bake_plan(
        stack.name.replace(".", "-"),
        settings,
        revision=git_revision(workspace),
        epoch=source_date_epoch(workspace),
        stand_ins=stand_ins,
        stand_in_packages=stand_in_packages,
        preprocessor=preprocessor,
        no_cache=no_cache,
    )
    run(command, settings, workspace, log=f"build-{stack.name}.log", report=report)
    return tuple(image.reference(prefix=settings.image_prefix) for image in images)


def build_tool(
    settings: BuildSettings,
    *,
    data: Registry,
    workspace: Path,
    report: Reporter,
    stand_ins: Mapping[str, str] | None = None,
    no_cache: bool = False,
) -> str:
    """Build the image that carries the paddock which runs here, and return its reference.

    Raises ConfigurationError where paddock does not run from a checkout, else as `build_images` does.
    """
    checkout = paths.checkout()
    tool = load_tool(paths.templates())
    platform = _platform("the tool", tool.platforms)
    engine.require_buildx()
    _warn_of_changes(include_tool(data, paths.templates(), workspace), report)
    have_base(tool.image.base, platform, settings.base_registry, stand_ins or {}, report)
    command = bake_plan(
        TOOL.target,
        settings,
        revision=git_revision(checkout),
        epoch=source_date_epoch(checkout),
        checkout=checkout,
        stand_ins=stand_ins,
        no_cache=no_cache,
    )
    run(command, settings, workspace, log=f"build-{TOOL.name}.log", report=report)
    return TOOL.reference(prefix=settings.image_prefix)


# --- before the build ---------------------------------------------------------------------------------------


def _warn_of_changes(changed: Sequence[Difference], report: Reporter) -> None:
    if changed:
        names = ", ".join(str(each.path) for each in changed)
        report.warn(
            f"building from files that differ from a fresh render ({names}); `paddock render` writes them"
        )


def _platform(what: str, expected: Sequence[Platform]) -> Platform:
    """What the engine builds for. Another architecture would be emulated: hours, where it works at all."""
    client = engine.connect(minimum=engine.BUILDING_ENGINE)
    try:
        found = engine.platform(client)
    finally:
        client.close()
    platform = next((each for each in expected if each == found), None)
    if platform is None:
        raise EngineError(
            f"{what}: found an engine for {found}, expected one for {' or '.join(expected)}",
            hint="build on a machine of that architecture; paddock does not emulate one",
        )
    return platform


def _require_weights(stack: Stack, models_dir: Path) -> None:
    fetch = f"paddock models fetch {stack.model.name}"
    if stack.backend.weights_role is not WeightsRole.VLM:
        fetch += f" --backend {stack.backend.name}"
    for image in stack_images(stack):
        for weights in image.weights:
            if not (models_dir / weights.name).is_dir():
                raise WeightsError(
                    f"{models_dir}: found no {weights.name}, expected the weights that the offline image holds",
                    hint=f"`{fetch}` brings them; for a trial, `paddock models make-test` makes small ones",
                )


def _with_preprocessor(images: Sequence[StackImage], models_dir: Path, report: Reporter) -> bool:
    """Whether all weights of the document preprocessor are there; says so where they are not."""
    wanted = [weights.name for image in images for weights in image.further_weights]
    missing = [name for name in wanted if not (models_dir / name).is_dir()]
    if missing:
        report.warn(
            f"{models_dir}: found no {', '.join(missing)}: the offline image can be used with use_doc_preprocessor: "
            "false only, as it is rendered"
        )
    return bool(wanted) and not missing


def _warn_of_stand_ins(images: Sequence[StackImage], report: Reporter) -> None:
    for image in images:
        if image.stand_in:
            report.warn(
                f"{image.name}: built with {image.stand_in} in place of the vendor's package, for a trial only"
            )
