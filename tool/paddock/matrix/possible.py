"""Which stacks can be: each refusal says why, and what to choose instead."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from paddock.errors import ConfigurationError
from paddock.matrix.records import Backend, Image, Model, Platform, Stack, Target

UNQUANTIZED = "bfloat16"  # what a server without the setting `quantization` holds

# --- which stacks can be ------------------------------------------------------------------------------------


def default_backend(target: Target, model: Model) -> str:
    if target.default_backend in model.backends:
        return target.default_backend
    return next((name for name in target.backends if name in model.backends), target.default_backend)


def refuse_impossible(stack: Stack, *, elsewhere: str) -> None:
    """Raise ConfigurationError with the reason if this stack cannot run. `elsewhere`: targets that have the
    model.
    """
    choice = f"choose the target {elsewhere}" if elsewhere else "choose another model"
    _refuse_backend(stack.target, stack.backend)
    _refuse_model(stack.target, stack.backend, stack.model, choice)
    _refuse_pipeline(stack.target, stack.model, choice)
    _refuse_too_few_cards(stack, choice)
    _refuse_bad_image(stack)
    _refuse_dtype(stack)
    _refuse_quantization(stack)
    _refuse_needy_settings(stack)
    for image in _images(stack):
        for platform in stack.target.platforms:
            _refuse_versions(stack, image, platform)


def _refuse_backend(target: Target, backend: Backend) -> None:
    where = f"target {target.name}, backend {backend.name}"
    offered = f"choose one of {', '.join(target.backends)}"
    if backend.name in target.refuses:
        raise ConfigurationError(f"{where}: cannot run: {target.refuses[backend.name]}", hint=offered)
    if target.accelerator not in backend.accelerators:
        runs = ", ".join(backend.accelerators)
        raise ConfigurationError(
            f"{where}: found the accelerator {target.accelerator}, expected one that it runs on: {runs}",
            hint=offered,
        )
    if backend.name not in target.backends:
        raise ConfigurationError(f"{where}: this target does not offer that backend", hint=offered)


def _refuse_model(target: Target, backend: Backend, model: Model, elsewhere: str) -> None:
    where = f"model {model.name}, backend {backend.name}"
    if backend.name not in model.backends:
        here = [name for name in model.backends if name in target.backends and fits(target, name, model)]
        choice = f"choose the backend {' or '.join(here)}" if here else elsewhere
        raise ConfigurationError(f"{where}: this backend cannot serve that model", hint=choice)
    if model.weight_set(backend.weights_role) is None:
        raise ConfigurationError(
            f"{where}: found no {backend.weights_role} weights of that model, expected them",
            hint=f"its weights are: {', '.join(weights.role for weights in model.weights)}",
        )


def _refuse_pipeline(target: Target, model: Model, elsewhere: str) -> None:
    if model.pipeline is not None and target.api is None:
        raise ConfigurationError(
            f"target {target.name}, model {model.name}: the model needs a pipeline API, which this target does not run",
            hint=elsewhere,
        )


def fits(target: Target, backend: str, model: Model) -> bool:
    """Whether the target has what the model needs beside a server: a pipeline API, and as many cards."""
    return (model.pipeline is None or target.api is not None) and target.backends[
        backend
    ].cards >= model.cards


def _refuse_too_few_cards(stack: Stack, elsewhere: str) -> None:
    if stack.vlm.cards < stack.model.cards:
        raise ConfigurationError(
            f"target {stack.target.name}, model {stack.model.name}: found {stack.vlm.cards} card for one server, "
            f"expected {stack.model.cards}: the model does not fit on fewer",
            hint=elsewhere,
        )


def _refuse_bad_image(stack: Stack) -> None:
    image = stack.vlm.image.base.image
    if image in stack.backend.bad_images:
        raise ConfigurationError(
            f"{_server(stack)}: found the base image {image}, which must not be used: "
            f"{stack.backend.bad_images[image]}",
            hint=f"choose another release in {_file(stack)}",
        )


def _refuse_dtype(stack: Stack) -> None:
    """A card that lacks the type in which weights are stored must be told its own: `auto` would take theirs."""
    possible = stack.target.dtypes
    found = stack.settings.get("dtype", "auto")
    if possible and found not in possible:
        raise ConfigurationError(
            f"{_server(stack)}: settings.dtype: found {found}, expected {' or '.join(possible)}: the card computes "
            "with nothing else",
            hint=f"write dtype: {possible[0]} in {_file(stack)}",
        )


def _refuse_quantization(stack: Stack) -> None:
    """The weights of a large model fit only on cards of a certain size, as its vendor's table has it."""
    possible, memory = stack.model.quantizations, stack.target.card_memory or 0
    if not possible:
        return
    found = str(stack.settings.get("quantization", UNQUANTIZED))
    if found in possible and possible[found] <= memory:
        return
    wanted = f", which wants cards with {possible[found]} GB" if found in possible else ""
    fitting = [name for name, least in possible.items() if least <= memory and name != UNQUANTIZED]
    raise ConfigurationError(
        f"{_server(stack)}, model {stack.model.name}: settings.quantization: found {found}{wanted}, expected "
        f"{' or '.join(fitting) or 'larger cards'}: its cards have {memory} GB",
        hint=f"write quantization: {fitting[0]} in {_file(stack)}, or choose a target with larger cards"
        if fitting
        else f"choose another model, or write card_memory in {_file(stack)}",
    )


def _refuse_needy_settings(stack: Stack) -> None:
    provides = stack.vlm.image.base.provides
    for setting, need in stack.vlm.needs.items():
        version = provides.get(need.package)
        if setting in stack.settings and (version is None or not satisfies(version, need.version)):
            raise ConfigurationError(
                f"{_server(stack)}: settings.{setting}: found {need.package} {version or '(none)'} in the image, "
                f"expected {need.version}",
                hint=f"write {need.instead} instead in {_file(stack)}, or choose an image with a newer {need.package}",
            )


def _server(stack: Stack) -> str:
    return f"target {stack.target.name}, backend {stack.backend.name}"


def _file(stack: Stack) -> str:
    return f"templates/targets/{stack.target.name}.yaml"


def _images(stack: Stack) -> Iterator[Image]:
    """The images that a stack runs: a model without a pipeline has no pipeline API."""
    yield stack.vlm.image
    if stack.target.api is not None and stack.model.pipeline is not None:
        yield stack.target.api.image


def _refuse_versions(stack: Stack, image: Image, platform: Platform) -> None:
    held = held_packages(image, platform)
    for package, wanted in stack.model.requires.items():
        version = held.get(canonicalize_name(package))
        if version is not None and not satisfies(version, wanted):
            raise ConfigurationError(
                f"target {stack.target.name}, model {stack.model.name}: found {package} {version} on {platform}, "
                f"expected {wanted}",
                hint=f"choose another model, or move the pin in templates/targets/{stack.target.name}.yaml",
            )


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version is within a specifier. Pre-releases count: a pin on one is on purpose.

    What is no Python version satisfies nothing.
    """
    try:
        return SpecifierSet(wanted).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def held_packages(image: Image, platform: Platform) -> dict[str, str]:
    """What the image holds: canonical package name -> version."""
    return {
        canonicalize_name(name): pin
        for name, pin in {**image.base.provides, **image.pins_on(platform)}.items()
    }
