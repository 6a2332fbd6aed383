"""Building: the two images of a stack, the tool's own, or those of a site, with `docker buildx bake`.

`build_images`, `build_tool` and `build_site` check the engine and the weights, see to the generated files
and the base images, and run the build. How buildx is called and what it prints is in `bake`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from paddock import engine, paths
from paddock.building.bake import bake_command, run
from paddock.building.bases import base_images, ensure_base
from paddock.building.offline import has_preprocessor, require_weights
from paddock.building.origin import git_revision, source_date_epoch
from paddock.building.settings import BuildSettings
from paddock.errors import EngineError
from paddock.matrix import locks, pins
from paddock.matrix.images import SITE, TOOL, StackImage, shared_image, stack_images
from paddock.matrix.load import load_site, load_tool
from paddock.matrix.records import Platform, Stack, Tool, Variant
from paddock.matrix.registry import Registry
from paddock.render.workspace import Difference, include, include_shared
from paddock.report import Reporter

if TYPE_CHECKING:
    from paddock.engine import docker


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
    with closing(engine.connect(minimum=engine.BUILDING_ENGINE)) as client:
        platform = _platform(client, f"target {stack.target.name}", stack.target.platforms)
        engine.require_buildx()
        images = stack_images(stack)
        offline = stack.variant is Variant.OFFLINE
        if offline:
            require_weights(stack, settings.models_dir)
        _warn_of_changes(include(stack, data, paths.templates(), workspace), report)
        _warn_of_unhashed(images, platform, workspace, stand_in_packages, report)
        preprocessor = offline and has_preprocessor(images, settings.models_dir, report)
        if stand_in_packages:
            _warn_of_stand_ins(images, report)
        taken = dict(stand_ins or {})
        for base in base_images(stack):
            taken |= ensure_base(
                base,
                platform,
                client=client,
                base_registry=settings.base_registry,
                pins=pins.load(paths.templates()),
                stand_ins=taken,
                report=report,
            )
    command = bake_command(
        stack.name.replace(".", "-"),
        settings,
        revision=git_revision(workspace),
        epoch=source_date_epoch(workspace),
        stand_ins=taken,
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
) -> tuple[str, ...]:
    """Build the image that carries the paddock which runs here, and return its reference.

    Raises ConfigurationError where paddock does not run from a checkout, else as `build_images` does.
    """
    return _build_shared(
        TOOL.target,
        {TOOL.name: load_tool(paths.templates())},
        settings,
        data=data,
        workspace=workspace,
        report=report,
        checkout=paths.checkout(),
        stand_ins=stand_ins,
        no_cache=no_cache,
    )


def build_site(
    settings: BuildSettings,
    *,
    data: Registry,
    workspace: Path,
    report: Reporter,
    stand_ins: Mapping[str, str] | None = None,
    no_cache: bool = False,
) -> tuple[str, ...]:
    """Build the images that site.yaml of every stack names, and return their references.

    Raises as `build_images` does.
    """
    return _build_shared(
        SITE,
        load_site(paths.templates()).images,
        settings,
        data=data,
        workspace=workspace,
        report=report,
        checkout=None,
        stand_ins=stand_ins,
        no_cache=no_cache,
    )


def _build_shared(
    group: str,
    shared: Mapping[str, Tool],
    settings: BuildSettings,
    *,
    data: Registry,
    workspace: Path,
    report: Reporter,
    checkout: Path | None,
    stand_ins: Mapping[str, str] | None,
    no_cache: bool,
) -> tuple[str, ...]:
    images = tuple(map(shared_image, shared))
    with closing(engine.connect(minimum=engine.BUILDING_ENGINE)) as client:
        engine.require_buildx()
        _warn_of_changes(include_shared(images, data, paths.templates(), workspace), report)
        taken = dict(stand_ins or {})
        for name, image in shared.items():
            taken |= ensure_base(
                image.image.base,
                _platform(client, f"the image {name}", image.platforms),
                client=client,
                base_registry=settings.base_registry,
                pins=pins.load(paths.templates()),
                stand_ins=taken,
                report=report,
            )
    command = bake_command(
        group,
        settings,
        revision=git_revision(checkout or workspace),
        epoch=source_date_epoch(checkout or workspace),
        checkout=checkout,
        stand_ins=taken,
        no_cache=no_cache,
    )
    run(command, settings, workspace, log=f"build-{group}.log", report=report)
    return tuple(image.reference(prefix=settings.image_prefix) for image in images)


# --- before the build ---------------------------------------------------------------------------------------


def _platform(client: docker.DockerClient, what: str, expected: Sequence[Platform]) -> Platform:
    """What the engine builds for. Another architecture would be emulated: hours, where it works at all."""
    found = engine.platform(client)
    if found not in expected:
        raise EngineError(
            f"{what}: found an engine for {found}, expected one for {' or '.join(expected)}",
            hint="build on a machine of that architecture; paddock does not emulate one",
        )
    return Platform(found)


def _warn_of_changes(changed: Sequence[Difference], report: Reporter) -> None:
    if changed:
        names = ", ".join(str(difference.path) for difference in changed)
        report.warn(
            f"building from files that differ from a fresh render ({names}); `paddock render` writes them"
        )


def _warn_of_unhashed(
    images: Sequence[StackImage], platform: Platform, workspace: Path, stand_ins: bool, report: Reporter
) -> None:
    """Name each package that comes from somewhere as it is: nobody could say what its file must be."""
    for image in images:
        path = workspace / image.context / f"requirements.{platform.rpartition('/')[2]}.txt"
        packages = locks.read(path) if path.is_file() else ()
        for package in packages:
            if not package.hashes and not (stand_ins and image.stand_in):
                reason = package.remark or "its list names none"
                report.warn(
                    f"{image.name}: {package.name} {package.version} is taken without a hash: {reason}"
                )


def _warn_of_stand_ins(images: Sequence[StackImage], report: Reporter) -> None:
    for image in images:
        if image.stand_in:
            report.warn(
                f"{image.name}: built with {image.stand_in} in place of the vendor's package, "
                "for a trial only"
            )
