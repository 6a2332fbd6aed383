"""Checks before an hour-long build: what this machine needs, and whether every base image can be had.

Each check says what was found and what to do; nothing is changed. What a stack needs at its start is checked
in `paddock.stack.preflight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import requests

from paddock import engine
from paddock.building import containerregistry
from paddock.building.containerregistry import Answer, Verdict
from paddock.durable import free_bytes
from paddock.errors import EngineError
from paddock.matrix import upstream
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.pins import Pins
from paddock.matrix.records import Base, Image, Platform, Target, Tool
from paddock.paths import workspace
from paddock.report import Reporter

# Bytes: two images of a target without an accelerator, their layers and the build cache.
ROOM_WANTED = 30 * 10**9
_ROOM = "room on this disk"
NONE: Mapping[str, Tool] = FrozenDict()


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at. `hint` says what to do where it is not well."""

    what: str
    well: bool
    found: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An image on a platform, and the images of ours that start from it.

    `upstream`: it is one of upstream's, which a stack can run in the place of ours.
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
    with closing(engine.connect(minimum=engine.BUILDING_ENGINE)) as client:
        return f"{client.version()['Version']} at {engine.address()}"


def _version(what: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(what=what, well=True, found=ask())
    except EngineError as failure:
        return Check(what=what, well=False, found=failure.message, hint=failure.hint)


def _room() -> Check:
    free = free_bytes(workspace())
    if free is None:
        return Check(what=_ROOM, well=True, found="the file system does not say how much is free")
    found = f"{_gigabytes(free)} free"
    if free >= ROOM_WANTED:
        return Check(what=_ROOM, well=True, found=found)
    hint = f"{_gigabytes(ROOM_WANTED)} are wanted; `docker system df` shows what takes it"
    return Check(what=_ROOM, well=False, found=found, hint=hint)


def _gigabytes(size: int) -> str:
    return f"{size / 10**9:.0f} GB"


# --- base images --------------------------------------------------------------------------------------------


def wanted(targets: Iterable[Target], shared: Mapping[str, Tool] = NONE) -> list[Wanted]:
    """Every base image of these targets, and of `shared` images, on each platform, each once."""
    built = [(images_of(target), target.platforms) for target in targets]
    built += [({name: image.image}, image.platforms) for name, image in shared.items()]
    bases: dict[tuple[str, Platform], Base] = {}
    used_by: dict[tuple[str, Platform], list[str]] = {}
    for images, platforms in built:
        for (name, image), platform in product(images.items(), platforms):
            key = (image.base.image_on(platform), platform)
            bases.setdefault(key, image.base)
            used_by.setdefault(key, []).append(name)
    return [
        Wanted(base=base, platform=platform, used_by=tuple(used_by[name, platform]))
        for (name, platform), base in bases.items()
    ]


def wanted_of_upstream(targets: Iterable[Target]) -> list[Wanted]:
    """Every image of upstream's that a stack of these targets can run, on each platform, each once."""
    replaces: dict[tuple[str, Platform], list[str]] = {}
    for target in targets:
        for (image, ours), platform in product(upstream.published(target), target.platforms):
            replaces.setdefault((image, platform), []).append(ours)
    return [
        Wanted(base=Base(image=image), platform=platform, used_by=tuple(ours), upstream=True)
        for (image, platform), ours in replaces.items()
    ]


def images_of(target: Target) -> Mapping[str, Image]:
    """The images of a target by their names without prefix."""
    return {f"{target.name}-{program}": image for program, image in target.images.items()}


def check_base_images(
    bases: Iterable[Wanted], pins: Pins, *, base_registry: str, ca_bundle: Path | None, report: Reporter
) -> Iterator[Check]:
    """Ask the container registry of each base image for it."""
    with requests.Session() as session:
        session.headers["User-Agent"] = "paddock"
        if ca_bundle:
            session.verify = str(ca_bundle)
        for image in bases:
            name = image.image if image.upstream else f"{base_registry}{image.image}"
            report.say(f"asking for {name} ({image.platform})")
            answer = containerregistry.look_up(name, image.platform, session=session)
            pinned = pins.digest(image.image, image.platform)
            what = f"{name} for {image.platform}"
            if answer.verdict is Verdict.PRESENT:
                yield _present(what, answer, pinned)
            else:
                yield _missing(what, answer, image)


def _present(what: str, answer: Answer, pinned: str) -> Check:
    if pinned and answer.digest and pinned != answer.digest:
        return Check(
            what=what,
            well=False,
            found=f"there, but as {answer.digest}, expected {pinned}",
            hint="the tag moved: look at what changed, then scripts/maintain/update-pins.py",
        )
    return Check(what=what, well=True, found=f"there{f', {answer.digest}' if answer.digest else ''}")


def _missing(what: str, answer: Answer, wanted: Wanted) -> Check:
    found = f"{answer.verdict}: {answer.detail}"
    users = ", ".join(wanted.used_by)
    if wanted.upstream:
        by = f"IMAGES=upstream runs it in the place of {users}, no build needs it"
        return Check(what=what, well=False, found=found, hint=f"{by}; ours can be built instead")
    if answer.verdict is Verdict.UNREACHABLE and wanted.base.debootstrap:
        return Check(what=what, well=True, found=f"{found}; it can be made from Debian's packages")
    hint = f"{users} start from it; {_next_step(answer.verdict)}"
    return Check(what=what, well=False, found=found, hint=hint)


def _next_step(verdict: Verdict) -> str:
    if verdict is Verdict.UNREACHABLE:
        return "name a mirror with --base-registry (BASE_REGISTRY)"
    if verdict is Verdict.OTHER_PLATFORM:
        return "build on a machine of that platform, or with --base REFERENCE=IMAGE"
    if verdict is Verdict.REFUSED:
        return "`docker login` there and `docker manifest inspect` say more"
    return "build with --base REFERENCE=IMAGE, or correct the name in templates/targets"
