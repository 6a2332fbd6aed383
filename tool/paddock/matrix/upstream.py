"""Whether a stack can run on the images that upstream publishes (IMAGES=upstream), and if not, why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.possible import satisfies
from paddock.matrix.records import Stack, Target, UpstreamImage, Variant


def images(stack: Stack) -> Mapping[str, UpstreamImage]:
    """Upstream's images of a stack by service; only for a stack that `reason_against` lets pass."""
    return FrozenDict({part.role.value: stack.target.upstream[part.program] for part in stack.parts})


def reason_against(stack: Stack) -> str:
    """Why the stack cannot run on upstream's images; empty when it can."""
    for program in (part.program for part in stack.parts):
        image = stack.target.upstream.get(program)
        if image is None:
            return stack.target.no_upstream.get(program, f"no image of upstream's is known for {program}")
        if stack.variant is Variant.OFFLINE and image.model != stack.model.name:
            return f"upstream's offline images hold the weights of {image.model}"
        for package, version in image.provides.items():
            wanted = stack.model.requires.get(package, "")
            if not satisfies(version, wanted):
                return (
                    f"upstream's image for {program} holds {package} {version}, "
                    f"and {stack.model.name} needs {wanted}"
                )
    return ""


def published(target: Target) -> Iterator[tuple[str, str]]:
    """Every image of upstream's that a stack of this target can run, and the name of the one it replaces."""
    for program, image in target.upstream.items():
        for variant in Variant:
            yield image.image_of(variant), f"{target.name}-{program}"
