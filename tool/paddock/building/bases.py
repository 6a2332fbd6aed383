"""Base images: already in the engine, pulled, or made from Debian's packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from paddock import engine, process
from paddock.errors import EngineError, ProgramError
from paddock.matrix.pins import Pins
from paddock.matrix.records import Base, Platform, Stack
from paddock.report import Reporter

if TYPE_CHECKING:
    from paddock.engine import docker

MAKE_BASE = Path(__file__).with_name("make-base.sh")
PULL_TIMEOUT = 120.0  # seconds without an answer before a container registry counts as out of reach


def base_images(stack: Stack) -> list[Base]:
    """The base images of a stack's servers, each once."""
    return list(dict.fromkeys(part.image.base for part in stack.parts))


def ensure_base(
    base: Base,
    platform: Platform,
    *,
    client: docker.DockerClient,
    base_registry: str,
    pins: Pins,
    stand_ins: Mapping[str, str],
    report: Reporter,
) -> dict[str, str]:
    """See that the engine has a base image: it is there already, can be pulled, or is made here.

    `base_registry` stands in front of its name, `pins` may put a digest behind it; nothing is done for a name
    in `stand_ins`. Returns what the build must take for the name in the FROM, where that is another image.
    Raises EngineError where it can be neither pulled nor made.
    """
    tagged = f"{base_registry}{base.image_on(platform)}"
    reference = f"{base_registry}{pins.reference(base.image_on(platform), platform)}"
    if stand_in := stand_ins.get(reference, stand_ins.get(tagged)):
        return {reference: stand_in}
    if engine.has_image(client, reference):
        return {}
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
            f"{reference}: no container registry gives it; making it from Debian's packages, "
            "which is not the same image"
        )
        process.stream(["bash", str(MAKE_BASE), tagged, base.debootstrap], on_line=report.say)
        return {reference: tagged} if reference != tagged else {}
    return {}
