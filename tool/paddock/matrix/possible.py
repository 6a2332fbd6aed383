"""Which stacks are possible. Each refusal says why, and what to choose instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from paddock.errors import ConfigurationError
from paddock.matrix.records import Backend, Image, Model, NvidiaCards, Platform, Stack, Target

UNQUANTIZED = "bfloat16"  # what a server without the setting `quantization` holds


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A backend of a target, and a model that it can serve there."""

    backend: str
    model: Model


def servings(target: Target, models: Iterable[Model]) -> Iterator[Serving]:
    """Which of these models each backend of the target can serve, in the target's order of backends."""
    candidates = tuple(models)
    for backend, server in target.backends.items():
        for model in candidates:
            enough_cards = server.cards >= model.cards
            if backend in model.backends and enough_cards and not _lacks_pipeline_api(target, model):
                yield Serving(backend=backend, model=model)


def default_backend(target: Target, model: Model) -> str:
    """The backend for a model when nobody names one: the target's default, or the first that can serve it."""
    if target.default_backend in model.backends:
        return target.default_backend
    return next((name for name in target.backends if name in model.backends), target.default_backend)


def refuse_impossible(stack: Stack, *, elsewhere: str) -> None:
    """Raise ConfigurationError with the reason if this stack cannot run.

    `elsewhere` names the targets that can serve the model, for the hint.
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
    for part in stack.parts:
        for platform in stack.target.platforms:
            _refuse_versions(stack, part.image, platform)


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
        able = [serving.backend for serving in servings(target, [model])]
        choice = f"choose the backend {' or '.join(able)}" if able else elsewhere
        raise ConfigurationError(f"{where}: this backend cannot serve that model", hint=choice)
    if model.weight_set(backend.weights_role) is None:
        raise ConfigurationError(
            f"{where}: found no {backend.weights_role} weights of that model, expected them",
            hint=f"its weights are: {', '.join(weights.role for weights in model.weights)}",
        )


def _refuse_pipeline(target: Target, model: Model, elsewhere: str) -> None:
    if _lacks_pipeline_api(target, model):
        raise ConfigurationError(
            f"target {target.name}, model {model.name}: the model needs a pipeline API, "
            "which this target does not run",
            hint=elsewhere,
        )


def _lacks_pipeline_api(target: Target, model: Model) -> bool:
    return model.pipeline is not None and target.api is None


def _refuse_too_few_cards(stack: Stack, elsewhere: str) -> None:
    if stack.vlm.cards < stack.model.cards:
        raise ConfigurationError(
            f"target {stack.target.name}, model {stack.model.name}: found {stack.vlm.cards} card for one "
            f"server, expected {stack.model.cards}: the model does not fit on fewer",
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
    """Refuse a data type that the card lacks; `auto` would take that of the weights."""
    possible = stack.target.dtypes
    found = stack.settings.get("dtype", "auto")
    if possible and found not in possible:
        raise ConfigurationError(
            f"{_server(stack)}: settings.dtype: found {found}, expected {' or '.join(possible)}: "
            "the card computes with nothing else",
            hint=f"write dtype: {possible[0]} in {_file(stack)}",
        )


def _refuse_quantization(stack: Stack) -> None:
    """Refuse weights that the cards have no room for, by the table of the model's vendor."""
    possible, cards = stack.model.quantizations, stack.target.cards
    if not possible:
        return
    memory = (cards.memory if isinstance(cards, NvidiaCards) else None) or 0
    found = str(stack.settings.get("quantization", UNQUANTIZED))
    if found in possible and possible[found] <= memory:
        return
    wanted = f", which wants cards with {possible[found]} GB" if found in possible else ""
    fitting = [name for name, least in possible.items() if least <= memory and name != UNQUANTIZED]
    if fitting:
        hint = f"write quantization: {fitting[0]} in {_file(stack)}, or choose a target with larger cards"
    else:
        hint = f"choose another model, or write memory below cards in {_file(stack)}"
    raise ConfigurationError(
        f"{_server(stack)}, model {stack.model.name}: settings.quantization: found {found}{wanted}, "
        f"expected {' or '.join(fitting) or 'larger cards'}: its cards have {memory} GB",
        hint=hint,
    )


def _refuse_needy_settings(stack: Stack) -> None:
    provides = stack.vlm.image.base.provides
    for setting, need in stack.vlm.needs.items():
        version = provides.get(need.package)
        if setting in stack.settings and (version is None or not satisfies(version, need.version)):
            raise ConfigurationError(
                f"{_server(stack)}: settings.{setting}: found {need.package} {version or '(none)'} "
                f"in the image, expected {need.version}",
                hint=f"write {need.instead} instead in {_file(stack)}, "
                f"or choose an image with a newer {need.package}",
            )


def _server(stack: Stack) -> str:
    return f"target {stack.target.name}, backend {stack.backend.name}"


def _file(stack: Stack) -> str:
    return f"templates/targets/{stack.target.name}.yaml"


def _refuse_versions(stack: Stack, image: Image, platform: Platform) -> None:
    held = held_packages(image, platform)
    for package, wanted in stack.model.requires.items():
        version = held.get(canonicalize_name(package))
        if version is not None and not satisfies(version, wanted):
            raise ConfigurationError(
                f"target {stack.target.name}, model {stack.model.name}: "
                f"found {package} {version} on {platform}, expected {wanted}",
                hint=f"choose another model, or move the pin in {_file(stack)}",
            )


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version is within a specifier.

    Pre-releases count, as a pin on one is on purpose. What is no Python version satisfies nothing.
    """
    try:
        return SpecifierSet(wanted).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def held_packages(image: Image, platform: Platform) -> dict[str, str]:
    """The versions of what the image holds, by canonical package name."""
    versions = {**image.base.provides, **image.pins_on(platform)}
    return {canonicalize_name(name): version for name, version in versions.items()}
