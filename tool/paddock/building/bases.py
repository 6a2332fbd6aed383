"""Base images: here already, pulled, or made from Debian's packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddock import process
from paddock.errors import EngineError, ProgramError
from paddock.matrix.records import Base, Platform, Stack
from paddock.report import Reporter

MAKE_BASE = Path(__file__).with_name("make-base.sh")
PULL_TIMEOUT = 120.0  # seconds without an answer before a container registry counts as out of reach


def bases(stack: Stack) -> list[Base]:
    found = [stack.vlm.image.base]
    if stack.target.api is not None and stack.model.pipeline is not None:
        found.insert(0, stack.target.api.image.base)
    return list(dict.fromkeys(found))


def have_base(
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
        process.stream(["bash", str(MAKE_BASE), reference, base.debootstrap], on_line=report.say)


def _is_present(reference: str) -> bool:
    return process.capture(["docker", "image", "inspect", reference], check=False).status == 0
