"""Building: the two images of a stack, or the tool's own image, with `docker buildx bake`.

`plan` is pure: a group of the bake file and settings become one command and its environment. `build_images` and
`build_tool` see to the base images first, run the command and tell which step failed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from paddock import engine, paths, process
from paddock.errors import EngineError, ProgramError, WeightsError
from paddock.matrix import Base, Platform, Stack, Variant, WeightsRole
from paddock.registry import Registry, load_tool
from paddock.render import BAKE_FILE, TOOL, Difference, StackImage, include, include_tool, stack_images
from paddock.report import Reporter
from paddock.settings import BuildSettings

PULL_TIMEOUT = 120.0  # seconds without an answer before a container registry counts as out of reach
SHOWN_OF_FAILURE = 40  # lines
_STEP = re.compile(r"^#(?P<number>\d+) \[(?P<image>[\w.-]+) (?P<stage>[^\]]*)\] (?P<instruction>[A-Z]+ .*)$")
_DONE = re.compile(r"^#(?P<number>\d+) DONE (?P<seconds>[\d.]+)s$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """One bake command, ready to run in the workspace."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def plan(
    group: str,
    settings: BuildSettings,
    *,
    revision: str,
    epoch: int,
    checkout: Path | None = None,
    stand_ins: Mapping[str, str] | None = None,
    stand_in_packages: bool = False,
    preprocessor: bool = False,
    no_cache: bool = False,
) -> Build:
    """The command that builds a group, or a target, of the bake file.

    `epoch` is SOURCE_DATE_EPOCH in seconds; `checkout` is what the tool's image carries; `stand_ins` maps the name in a
    FROM to the image to build on instead.
    `stand_in_packages`: take PyPI's packages where a vendor's index cannot be reached; `preprocessor`: offline images
    hold the weights of the document preprocessor too.
    """
    argv = ["docker", "buildx", "bake", "--progress=plain", f"--file={BAKE_FILE}"]
    argv += [f"--set=*.contexts.{name}=docker-image://{image}" for name, image in (stand_ins or {}).items()]
    argv += ["--no-cache"] if no_cache else []
    environment = {
        "REVISION": revision,
        "CREATED": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SOURCE_DATE_EPOCH": str(epoch),
        "IMAGE_PREFIX": settings.image_prefix,
        "CHECKOUT": str(checkout or ""),
        "MODELS_DIR": str(settings.models_dir),
        "DOC_PREPROCESSOR": "1" if preprocessor else "",
        "STAND_IN": "1" if stand_in_packages else "",
        "BASE_REGISTRY": settings.base_registry,
        "WHEELHOUSE": str(settings.wheelhouse or ""),
        "CA_BUNDLE": str(settings.ca_bundle or ""),
        "PIP_INDEX_URL": settings.pip_index_url,
        "APT_MIRROR": settings.apt_mirror,
        "HTTP_PROXY": settings.http_proxy,
        "HTTPS_PROXY": settings.https_proxy,
        "NO_PROXY": settings.no_proxy,
    }
    return Build(argv=(*argv, group), environment=environment)


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

    What the workspace lacks of generated files is rendered from `data` first; what somebody changed is built as it is.
    An offline pipeline API holds the weights of the document preprocessor when they are in the models directory.
    Raises EngineError, WeightsError (offline, weights missing), ProgramError with the end of the step that failed.
    """
    platform = _platform(f"target {stack.target.name}", stack.target.platforms)
    engine.require_buildx()
    images = stack_images(stack)
    if stack.variant is Variant.OFFLINE:
        _require_weights(stack, settings.models_dir)
    _warn_of_changes(include(stack, data, paths.templates(), workspace), report)
    preprocessor = stack.variant is Variant.OFFLINE and _with_preprocessor(images, settings.models_dir, report)
    if stand_in_packages:
        _warn_of_stand_ins(images, report)
    for base in _bases(stack):
        _have_base(base, platform, settings.base_registry, stand_ins or {}, report)
    command = plan(
        stack.name.replace(".", "-"),
        settings,
        revision=_revision(workspace),
        epoch=_epoch(workspace),
        stand_ins=stand_ins,
        stand_in_packages=stand_in_packages,
        preprocessor=preprocessor,
        no_cache=no_cache,
    )
    _run(command, settings, workspace, log=f"build-{stack.name}.log", report=report)
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
    _have_base(tool.image.base, platform, settings.base_registry, stand_ins or {}, report)
    command = plan(
        TOOL.target,
        settings,
        revision=_revision(checkout),
        epoch=_epoch(checkout),
        checkout=checkout,
        stand_ins=stand_ins,
        no_cache=no_cache,
    )
    _run(command, settings, workspace, log=f"build-{TOOL.name}.log", report=report)
    return TOOL.reference(prefix=settings.image_prefix)


# --- before the build ------------------------------------------------------------------------------------------------


def _warn_of_changes(changed: Sequence[Difference], report: Reporter) -> None:
    if changed:
        names = ", ".join(str(each.path) for each in changed)
        report.warn(f"building from files that differ from a fresh render ({names}); `paddock render` writes them")


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
            report.warn(f"{image.name}: built with {image.stand_in} in place of the vendor's package, for a trial only")


def _bases(stack: Stack) -> list[Base]:
    found = [stack.vlm.image.base]
    if stack.target.api is not None and stack.model.pipeline is not None:
        found.insert(0, stack.target.api.image.base)
    return list(dict.fromkeys(found))


def _have_base(
    base: Base, platform: Platform, base_registry: str, stand_ins: Mapping[str, str], report: Reporter
) -> None:
    """See that a base image is there: locally, from its container registry, or made from Debian's packages."""
    reference = f"{base_registry}{base.image_on(platform)}"
    if reference in stand_ins or _is_present(reference):
        return
    report.say(f"pulling {reference}")
    try:
        process.capture(["docker", "pull", "--quiet", reference], timeout=PULL_TIMEOUT)
    except ProgramError as failure:
        if base.debootstrap is None:
            raise EngineError(
                f"{reference}: cannot be pulled\n{failure.message}",
                hint="name a mirror with BASE_REGISTRY, or another image with --base REFERENCE=IMAGE",
            ) from failure
        report.warn(
            f"no container registry gives {reference}: making it from Debian's packages, which is not the same image"
        )
        process.stream(["bash", str(paths.scripts() / "make-base.sh"), reference, base.debootstrap], on_line=report.say)


def _is_present(reference: str) -> bool:
    return process.capture(["docker", "image", "inspect", reference], check=False).status == 0


def _say_settings(settings: BuildSettings, report: Reporter) -> None:
    given = {
        "wheels from": settings.wheelhouse,
        "certificates from": settings.ca_bundle,
        "base images from": settings.base_registry,
        "Python packages from": settings.pip_index_url and "the index in PIP_INDEX_URL",
        "Debian packages from": settings.apt_mirror and "the mirror in APT_MIRROR",
    }
    for what, value in given.items():
        if value:
            report.say(f"{what} {value}")


def _revision(workspace: Path) -> str:
    """The git commit of the workspace, with `-dirty` where files differ from it; `unknown` outside git."""
    commit = _git(workspace, "rev-parse", "HEAD")
    if not commit:
        return "unknown"
    return f"{commit}-dirty" if _git(workspace, "status", "--porcelain", "--untracked-files=no") else commit


def _epoch(workspace: Path) -> int:
    """SOURCE_DATE_EPOCH, else the time of the last commit, else now (https://reproducible-builds.org/specs/source-date-epoch)."""
    given = os.environ.get("SOURCE_DATE_EPOCH") or _git(workspace, "log", "-1", "--format=%ct")
    return int(given) if given.isdigit() else int(time.time())


def _git(workspace: Path, *arguments: str) -> str:
    try:
        done = process.capture(["git", "-C", str(workspace), *arguments], check=False)
    except ProgramError:
        return ""
    return done.stdout.strip() if done.status == 0 else ""


# --- the build itself ------------------------------------------------------------------------------------------------


def _run(command: Build, settings: BuildSettings, workspace: Path, *, log: str, report: Reporter) -> None:
    _say_settings(settings, report)
    report.say(f"$ {process.command_line(command.argv)}")
    _bake(command, workspace, workspace / ".paddock" / log, report)


def _bake(command: Build, workspace: Path, log: Path, report: Reporter) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    steps = _Steps(report)
    with log.open("w", encoding="utf-8") as written:

        def on_line(line: str) -> None:
            written.write(line + "\n")
            steps.see(line)

        try:
            process.stream(command.argv, on_line=on_line, cwd=workspace, environment=command.environment)
        except ProgramError as failure:
            written.flush()
            raise _explained(log) from failure


class _Steps:
    """Says each step of a build once when it starts and once when it took long; the rest is in the log."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._names: dict[str, str] = {}

    def see(self, line: str) -> None:
        if match := _STEP.match(line):
            number = match["number"]
            if number not in self._names:
                self._names[number] = f"{match['image']}: {match['instruction']}"
                self._report.say(_shortened(self._names[number]))
        elif (match := _DONE.match(line)) and float(match["seconds"]) >= 1 and match["number"] in self._names:
            self._report.say(f"{_shortened(self._names[match['number']])} ({match['seconds']} s)")


def _shortened(text: str, width: int = 110) -> str:
    # The mounts of a RUN say nothing about what it does.
    text = re.sub(r"--mount=\S+\s+", "", text)
    return text if len(text) <= width else text[: width - 3] + "..."


def _explained(log: Path) -> ProgramError | EngineError:
    """The failing step's own last lines, which buildx repeats at the end between two rules."""
    lines = log.read_text("utf-8").splitlines()
    start = next(
        (number for number, line in enumerate(lines) if line == "------"), max(0, len(lines) - SHOWN_OF_FAILURE)
    )
    shown = [line for line in lines[start:] if line.strip("-")][-SHOWN_OF_FAILURE:]
    text = "\n".join(f"  | {line}" for line in shown)
    if any("no space left on device" in line.lower() for line in lines):
        return EngineError(
            f"the build ran out of disk space\n{text}",
            hint="docker system df shows what takes it; docker builder prune frees the build cache",
        )
    return ProgramError(f"the build failed\n{text}", hint=f"the whole output: {log}")
