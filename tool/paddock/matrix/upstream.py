"""Whether a stack can run on the images that upstream publishes (IMAGES=upstream), and why not where it
cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.possible import satisfies
from paddock.matrix.records import Stack, Target, UpstreamImage, Variant

API = "api"


def images(stack: Stack) -> Mapping[str, UpstreamImage]:
    """Upstream's images of a stack by the name of the service; only of a stack that `reason_against` lets
    pass.
    """
    return FrozenDict({service: stack.target.upstream[key] for service, key in _parts(stack)})


def reason_against(stack: Stack) -> str:
    """Why the stack cannot run on upstream's images; empty when it can."""
    for _, key in _parts(stack):
        image = stack.target.upstream.get(key)
        if image is None:
            return stack.target.no_upstream.get(key, f"no image of upstream's is known for {key}")
        if stack.variant is Variant.OFFLINE and image.model != stack.model.name:
            return f"upstream's offline images hold the weights of {image.model}"
        for package, version in image.provides.items():
            wanted = stack.model.requires.get(package, "")
            if not satisfies(version, wanted):
                return f"upstream's image for {key} holds {package} {version}, and {stack.model.name} needs {wanted}"
    return ""


def published(target: Target) -> Iterator[tuple[str, str]]:
    """Every image of upstream's that a stack of this target can run, and the name of ours in whose place it
    runs.
    """
    for key, image in target.upstream.items():
        for variant in Variant:
            yield image.image_of(variant), f"{target.name}-{key}"


def _parts(stack: Stack) -> Iterator[tuple[str, str]]:
    """The services of a stack, and what their images are called in a target's data."""
    if stack.model.pipeline is not None:
        yield API, API
    yield "vlm", stack.backend.name
