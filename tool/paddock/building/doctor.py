"""Checks before an hour-long build: what this machine needs for one, and whether every base image can be had.

Each check says what was found and what to do; nothing is changed. What a stack needs at its start is
`preflight`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from paddock import engine
from paddock.building import containerregistry
from paddock.building.containerregistry import Answer, Verdict
from paddock.errors import EngineError
from paddock.matrix import upstream
from paddock.matrix.images import TOOL
from paddock.matrix.pins import Pins
from paddock.matrix.records import Base, Image, Platform, Target, Tool
from paddock.paths import workspace
from paddock.report import Reporter

ROOM_WANTED = (
    30 * 10**9
)  # bytes: two images of a target without an accelerator, their layers and the build cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at. `hint` says what to do where it is not well."""

    what: str
    well: bool
    found: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A base image on a platform and the images that start from it, or one of upstream's and ours that it
    replaces.
    """

    base: Base
    platform: Platform
    used_by: tuple[str, ...]
    upstream: bool = False

    @property
    def image(self) -> str:
        """Its name on that platform."""
        return self.base.image_on(self.platform)


# --- this machine -------------------------------------------------------------------------------------------


def check_machine() -> list[Check]:
    """Docker, Compose, Buildx and the room for images."""
    return [
        _version("Docker Engine", _engine_version),
        _version("Docker Compose", lambda: " ".join(engine.compose_argv())),
        _version("Docker Buildx", engine.require_buildx),
        _room(),
    ]


def _engine_version() -> str:
    client = engine.connect(minimum=engine.BUILDING_ENGINE)
    try:
        return f"{client.version()['Version']} at {engine.address()}"
    finally:
        client.close()


def _version(what: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(what=what, well=True, found=ask())
    except EngineError as failure:
        return Check(what=what, well=False, found=failure.message, hint=failure.hint)


def _room() -> Check:
    free = shutil.disk_usage(workspace()).free
    return Check(
        what="room on this disk",
        well=free >= ROOM_WANTED,
        found=f"{free / 10**9:.0f} GB free",
        hint=""
        if free >= ROOM_WANTED
        else f"{ROOM_WANTED / 10**9:.0f} GB are wanted; `docker system df` shows what takes it",
    )


# --- base images --------------------------------------------------------------------------------------------


def wanted(targets: Iterable[Target], tool: Tool | None = None) -> list[Wanted]:
    """Every base image of these targets, and of the tool's image, on each platform, each once."""
    used: dict[tuple[str, Platform], list[tuple[str, Base]]] = {}
    built = [(images_of(target), target.platforms) for target in targets]
    built += [({TOOL.name: tool.image}, tool.platforms)] if tool else []
    for images, platforms in built:
        for name, image in images.items():
            for platform in platforms:
                used.setdefault((image.base.image_on(platform), platform), []).append((name, image.base))
    return [
        Wanted(base=by[0][1], platform=platform, used_by=tuple(name for name, _ in by))
        for (_, platform), by in used.items()
    ]


def wanted_of_upstream(targets: Iterable[Target]) -> list[Wanted]:
    """Every image of upstream's that a stack of these targets can run, on each platform; no build needs them."""
    used: dict[tuple[str, Platform], list[str]] = {}
    for target in targets:
        for image, ours in upstream.published(target):
            for platform in target.platforms:
                used.setdefault((image, platform), []).append(ours)
    return [
        Wanted(base=Base(image=image), platform=platform, used_by=tuple(ours), upstream=True)
        for (image, platform), ours in used.items()
    ]


def images_of(target: Target) -> Mapping[str, Image]:
    """The images of a target by their names without prefix."""
    found = {f"{target.name}-{backend}": server.image for backend, server in target.backends.items()}
    if target.api is not None:
        found = {f"{target.name}-api": target.api.image, **found}
    return found


def check_base_images(
    bases: Iterable[Wanted], pins: Pins, *, base_registry: str, ca_bundle: Path | None, report: Reporter
) -> Iterator[Check]:
    """Ask the container registry of each base image for it."""
    with requests.Session() as session:
        session.headers["User-Agent"] = "paddock"
        if ca_bundle:
            session.verify = str(ca_bundle)
        for each in bases:
            name = each.image if each.upstream else f"{base_registry}{each.image}"
            report.say(f"asking for {name} ({each.platform})")
            answer = containerregistry.look_up(name, each.platform, session=session)
            yield _judged(each, name, answer, pins.digest(each.image, each.platform))


def _judged(each: Wanted, name: str, answer: Answer, pinned: str) -> Check:
    what = f"{name} for {each.platform}"
    if answer.verdict is Verdict.PRESENT:
        if pinned and answer.digest and pinned != answer.digest:
            return Check(
                what=what,
                well=False,
                found=f"there, but as {answer.digest}, expected {pinned}",
                hint="the tag moved: look at what changed, then scripts/maintain/update-pins.py",
            )
        return Check(what=what, well=True, found=f"there{f', {answer.digest}' if answer.digest else ''}")
    found = f"{answer.verdict}: {answer.detail}"
    if each.upstream:
        by = f"IMAGES=upstream runs it in the place of {', '.join(each.used_by)}, no build needs it"
        return Check(what=what, well=False, found=found, hint=f"{by}; ours can be built instead")
    by = f"{', '.join(each.used_by)} start from it"
    if answer.verdict is Verdict.UNREACHABLE and each.base.debootstrap:
        return Check(what=what, well=True, found=f"{found}; it can be made from Debian's packages")
    if answer.verdict is Verdict.UNREACHABLE:
        return Check(
            what=what,
            well=False,
            found=found,
            hint=f"{by}; name a mirror with --base-registry (BASE_REGISTRY)",
        )
    return Check(what=what, well=False, found=found, hint=f"{by}; {_next_step(answer.verdict)}")


def _next_step(verdict: Verdict) -> str:
    if verdict is Verdict.OTHER_PLATFORM:
        return "build on a machine of that platform, or with --base REFERENCE=IMAGE"
    if verdict is Verdict.REFUSED:
        return "`docker login` there and `docker manifest inspect` say more"
    return "build with --base REFERENCE=IMAGE, or correct the name in templates/targets"
