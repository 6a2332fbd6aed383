"""The images of a stack: what bake calls them, what they are made from, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paddock import __version__
from paddock.errors import ConfigurationError
from paddock.matrix.records import (
    IMAGE_PREFIX,
    Platform,
    ServerRole,
    Stack,
    Tool,
    Variant,
    WeightSet,
    WeightsRole,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StackImage:
    """One image that paddock builds: how bake calls it, what it is made from and what it is called."""

    role: str  # "api" or "vlm"; "tool" and those of a site are beside all stacks
    target: str  # in the bake file
    context: str  # build context, relative to the workspace
    name: str  # repository without prefix
    suffix: str  # of the tag, after the version
    weights: tuple[WeightSet, ...]  # what it serves; an offline image holds them
    # What it can be told to use; an offline image holds all of these or none.
    further_weights: tuple[WeightSet, ...] = ()
    stand_in: str = ""  # `package==version` that a trial build takes instead of the vendor's package

    def reference(self, *, prefix: str = IMAGE_PREFIX, version: str = __version__) -> str:
        """The image's full reference."""
        return f"{prefix}{self.name}:{version}{self.suffix}"

    @property
    def reference_in_stack(self) -> str:
        """The same with the variables of a stack's `.env`."""
        return self.reference(
            prefix=f"${{IMAGE_PREFIX:-{IMAGE_PREFIX}}}", version=f"${{IMAGE_VERSION:-{__version__}}}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What a site adds to a stack: images, by the names of the services that run them."""

    images: Mapping[str, Tool]


def shared_image(name: str) -> StackImage:
    """An image that all targets share, by its name."""
    return StackImage(role=name, target=name, context=f"images/{name}", name=name, suffix="", weights=())


TOOL = shared_image("tool")
SITE = "site"  # what `paddock build` and the bake file call all images of a site


def site_images(site: Site) -> tuple[StackImage, ...]:
    """The images of a site, in order of name."""
    return tuple(map(shared_image, sorted(site.images)))


def stack_images(stack: Stack) -> tuple[StackImage, ...]:
    """The images of a stack, pipeline API first."""
    suffix = f"-{stack.model.name}-offline" if stack.variant is Variant.OFFLINE else ""
    return tuple(
        StackImage(
            role=part.role.value,
            target=f"{stack.name}-{part.role}".replace(".", "-"),
            context=f"images/{stack.target.name}/{part.program}",
            name=f"{stack.target.name}-{part.program}",
            suffix=suffix,
            weights=(weights_of(stack, part.weights_role),),
            further_weights=_preprocessing(stack) if part.role is ServerRole.API else (),
            stand_in=part.image.stand_in or "",
        )
        for part in stack.parts
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedImage:
    """One image that continuous integration builds: once, however many stacks run it."""

    name: str  # repository without prefix
    target: str  # in the bake file
    platforms: tuple[Platform, ...]


def published_images(stacks: Iterable[Stack], shared: Mapping[str, Tool]) -> tuple[PublishedImage, ...]:
    """The images that all targets share, and those of these stacks, in order of name.

    Offline images hold weights and stay at home.
    """
    images = {
        name: PublishedImage(name=name, target=shared_image(name).target, platforms=image.platforms)
        for name, image in shared.items()
    }
    for stack in stacks:
        if stack.variant is Variant.OFFLINE:
            continue
        for image in stack_images(stack):
            published = PublishedImage(name=image.name, target=image.target, platforms=stack.target.platforms)
            images.setdefault(image.name, published)
    return tuple(images[name] for name in sorted(images))


def _preprocessing(stack: Stack) -> tuple[WeightSet, ...]:
    """What the pipeline's `use_doc_preprocessor` reads."""
    sets = (stack.model.weight_set(role) for role in (WeightsRole.ORIENTATION, WeightsRole.UNWARPING))
    return tuple(weights for weights in sets if weights is not None)


def weights_of(stack: Stack, role: WeightsRole) -> WeightSet:
    """The model's weight set with that role. Raises ConfigurationError where it has none."""
    weights = stack.model.weight_set(role)
    if weights is None:
        raise ConfigurationError(f"model {stack.model.name}: found no {role} weights, expected them")
    return weights
