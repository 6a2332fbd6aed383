"""The registry: all targets, backends and models, and which of them go together.

`load` reads and checks `templates/{targets,backends,models}/*.yaml`. `Registry.stack` turns names into one stack or
says why that stack cannot be; nothing impossible reaches the templates. Files whose name starts with `_` are parents
for `extends` only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from paddock import schema
from paddock.errors import ConfigurationError, UsageError
from paddock.matrix import (
    RUN_AS_UID,
    Backend,
    Devices,
    FrozenDict,
    Image,
    Model,
    Platform,
    Stack,
    Target,
    Tool,
    Variant,
    WeightsRole,
)
from paddock.schema import Loaded, Place

_Record = TypeVar("_Record", Target, Backend, Model)
_Files = Mapping[str, Loaded[_Record]]

OFFLINE_SUFFIX = "-offline"
UNQUANTIZED = "bfloat16"  # what a server without the setting `quantization` holds
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_STEM = re.compile(r"_?[a-z0-9]+([.-][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """All records by name, in alphabetical order. Made by `load`, which has checked every cross reference."""

    targets: Mapping[str, Target]
    backends: Mapping[str, Backend]
    models: Mapping[str, Model]

    def target(self, name: str) -> Target:
        """The target of that name. Raises UsageError."""
        return _look_up("target", name, self.targets)

    def backend(self, name: str) -> Backend:
        """The backend of that name. Raises UsageError."""
        return _look_up("backend", name, self.backends)

    def model(self, name: str) -> Model:
        """The model of that name. Raises UsageError."""
        return _look_up("model", name, self.models)

    def stack(
        self,
        *,
        target: str,
        backend: str | None = None,
        model: str | None = None,
        variant: Variant = Variant.ONLINE,
    ) -> Stack:
        """One stack from names; what is not named is the target's default.

        `<target>-offline` is the target with the variant offline. Where a model is named that the default backend
        cannot serve, the target's first backend that can serve it is taken.
        Raises UsageError for an unknown name, ConfigurationError for a pair that cannot be.
        """
        base, variant = self._split(target, variant)
        chosen_target = self.target(base)
        chosen_model = self.model(model or chosen_target.default_model)
        chosen_backend = self.backend(backend or _default_backend(chosen_target, chosen_model))
        stack = Stack(target=chosen_target, backend=chosen_backend, model=chosen_model, variant=variant)
        _refuse_impossible(stack, elsewhere=self._serving(chosen_model))
        return stack

    def stacks(self) -> Iterator[Stack]:
        """Every target with each of its backends in both variants: what is rendered and committed.

        They serve the target's default model, or where the backend cannot serve it the first model that it can.
        """
        for target in self.targets.values():
            for backend in target.backends:
                for variant in Variant:
                    yield self.stack(
                        target=target.name,
                        backend=backend,
                        model=self.committed_model(target, backend),
                        variant=variant,
                    )

    def committed_model(self, target: Target, backend: str) -> str:
        """The model of the stack that is rendered for that backend of that target."""
        default = self.models[target.default_model]
        if backend in default.backends:
            return default.name
        served = (
            model.name for model in self.models.values() if backend in model.backends and _fits(target, backend, model)
        )
        return next(served, target.default_model)

    def all_stacks(self) -> Iterator[Stack]:
        """Every stack that can be, with every model."""
        for target in self.targets.values():
            for backend in target.backends:
                for model in self.models.values():
                    if backend in model.backends and _fits(target, backend, model):
                        for variant in Variant:
                            yield self.stack(target=target.name, backend=backend, model=model.name, variant=variant)

    def _serving(self, model: Model) -> str:
        """The targets that can serve a model, in words."""
        names = (
            target.name
            for target in self.targets.values()
            if any(name in model.backends and _fits(target, name, model) for name in target.backends)
        )
        return " or ".join(names)

    def _split(self, target: str, variant: Variant) -> tuple[str, Variant]:
        if target not in self.targets and target.endswith(OFFLINE_SUFFIX):
            return target.removesuffix(OFFLINE_SUFFIX), Variant.OFFLINE
        return target, variant


def load(templates: Path) -> Registry:
    """Read and check all data below `templates`. Raises DataError or ConfigurationError at the first fault."""
    targets = _read_folder(templates / "targets", Target)
    backends = _read_folder(templates / "backends", Backend)
    models = _read_folder(templates / "models", Model)
    registry = Registry(targets=_records(targets), backends=_records(backends), models=_records(models))
    _Check(registry=registry, targets=targets, backends=backends, models=models).run()
    return registry


def load_tool(templates: Path) -> Tool:
    """What the tool's own image is made of. Raises DataError."""
    return schema.read(templates / "tool.yaml", Tool).record


def _records(files: _Files[_Record]) -> Mapping[str, _Record]:
    return FrozenDict({name: loaded.record for name, loaded in files.items()})


def _look_up(kind: str, name: str, known: Mapping[str, _Record]) -> _Record:
    if name in known:
        return known[name]
    close = schema.nearest(name, known)
    meant = f': did you mean "{close}"?' if close else ""
    raise UsageError(f'unknown {kind} "{name}"{meant}', hint=f"known: {', '.join(known)}")


# --- which stacks can be ---------------------------------------------------------------------------------------------


def _default_backend(target: Target, model: Model) -> str:
    if target.default_backend in model.backends:
        return target.default_backend
    return next((name for name in target.backends if name in model.backends), target.default_backend)


def _refuse_impossible(stack: Stack, *, elsewhere: str) -> None:
    """Raise ConfigurationError with the reason if this stack cannot run. `elsewhere`: targets that have the model."""
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
            f"{where}: found the accelerator {target.accelerator}, expected one that it runs on: {runs}", hint=offered
        )
    if backend.name not in target.backends:
        raise ConfigurationError(f"{where}: this target does not offer that backend", hint=offered)


def _refuse_model(target: Target, backend: Backend, model: Model, elsewhere: str) -> None:
    where = f"model {model.name}, backend {backend.name}"
    if backend.name not in model.backends:
        here = [name for name in model.backends if name in target.backends and _fits(target, name, model)]
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


def _fits(target: Target, backend: str, model: Model) -> bool:
    """Whether the target has what the model needs beside a server: a pipeline API, and as many cards."""
    return (model.pipeline is None or target.api is not None) and target.backends[backend].cards >= model.cards


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
    held = _held(image, platform)
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


def _held(image: Image, platform: Platform) -> dict[str, str]:
    """What the image holds: canonical package name -> version."""
    return {canonicalize_name(name): pin for name, pin in {**image.base.provides, **image.pins_on(platform)}.items()}


# --- reading and checking the files ----------------------------------------------------------------------------------


def _read_folder(folder: Path, record: type[_Record]) -> dict[str, Loaded[_Record]]:
    _refuse_file_names(folder)
    paths = sorted(folder.glob("*.yaml"), key=lambda path: path.stem)
    files = {
        path.stem: schema.read(path, record, given={"name": path.stem})
        for path in paths
        if not path.stem.startswith("_")
    }
    if not files:
        raise ConfigurationError(f"{folder}: found no data, expected at least one YAML file")
    extended = {stem for loaded in files.values() for stem in loaded.parents}
    for path in paths:
        if path.stem.startswith("_") and path.stem not in extended:
            raise Place(path=path).error("found a parent file that nothing extends, expected a child or no file")
    return files


def _refuse_file_names(folder: Path) -> None:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix != ".yaml" or not _STEM.fullmatch(path.stem):
            raise Place(path=path).error(
                f'found the file name "{path.name}", expected small letters, digits, dots and dashes, ending in .yaml'
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Check:
    """Cross references between files, each refused where it stands."""

    registry: Registry
    targets: _Files[Target]
    backends: _Files[Backend]
    models: _Files[Model]

    def run(self) -> None:
        for model in self.models.values():
            self._model(model)
        for target in self.targets.values():
            self._target(target)
        for model in self.models.values():
            self._requires_something_held(model)

    def _model(self, file: Loaded[Model]) -> None:
        model = file.record
        for index, backend in enumerate(model.backends):
            self._known(file.place("backends", index), "backends", backend, self.backends)
            role = self.backends[backend].record.weights_role
            if model.weight_set(role) is None:
                raise file.place("weights").error(
                    f"weights: found none with the role {role}, expected one: backend {backend} reads it"
                )
        if not model.backends:
            raise file.place("backends").error("backends: found none, expected one that can serve the model")
        self._weights(file)
        self._specifiers(file)
        self._pipeline(file)

    def _weights(self, file: Loaded[Model]) -> None:
        names: set[str] = set()
        roles: set[WeightsRole] = set()
        for index, weights in enumerate(file.record.weights):
            place = file.place("weights", index)
            if weights.name in names:
                raise place.error(f'weights[{index}].name: found "{weights.name}" again, expected each set once')
            sources = bool(weights.bos or weights.huggingface or weights.modelscope)
            if weights.made and sources:
                raise place.error(f"weights[{index}]: found a source, expected none for what paddock makes")
            if not weights.made and not sources:
                raise place.error(f"weights[{index}]: found no source, expected one of bos, huggingface, modelscope")
            if weights.role in roles:
                raise place.error(f"weights[{index}].role: found {weights.role} again, expected one set a role")
            names.add(weights.name)
            roles.add(weights.role)

    def _specifiers(self, file: Loaded[Model]) -> None:
        for package, wanted in file.record.requires.items():
            self._specifier(file.place("requires", package), f"requires.{package}", wanted)

    def _specifier(self, place: Place, where: str, wanted: str) -> None:
        try:
            SpecifierSet(wanted)
        except InvalidSpecifier:
            raise place.error(f'{where}: found "{wanted}", expected a version specifier such as ">=3.6"') from None

    def _pipeline(self, file: Loaded[Model]) -> None:
        pipeline = file.record.pipeline
        if pipeline is None:
            return
        layouts = [weights.name for weights in file.record.weights if weights.role is WeightsRole.LAYOUT]
        if pipeline.layout_model not in layouts and not (layouts and file.record.made):
            raise file.place("pipeline", "layout_model").error(
                f'pipeline.layout_model: found "{pipeline.layout_model}", expected the name of weights with the role '
                f"layout: {', '.join(layouts) or 'there are none'}"
            )

    def _target(self, file: Loaded[Target]) -> None:
        target = file.record
        if target.name.endswith(OFFLINE_SUFFIX):
            raise file.place().error(
                f"found the target {target.name}, expected another name: {OFFLINE_SUFFIX} is a variant"
            )
        for key in target.backends:
            self._known(file.place("backends", key), "backends", key, self.backends)
        for key in target.refuses:
            self._known(file.place("refuses", key), "refuses", key, self.backends)
            if key in target.backends:
                raise file.place("refuses", key).error(f"refuses: found {key}, which the target also offers")
        self._known(file.place("default_backend"), "default_backend", target.default_backend, target.backends)
        self._known(file.place("default_model"), "default_model", target.default_model, self.models)
        if not target.platforms:
            raise file.place("platforms").error("platforms: found none, expected at least one")
        self._images(file)
        self._upstream(file)
        self._settings(file)
        self._needs(file)
        self._devices(file)
        self._stacks(file)

    def _images(self, file: Loaded[Target]) -> None:
        for keys, image in _target_images(file.record).items():
            self._vendor(file, keys, image)
            self._accounts(file, keys, image)
            for package in image.excludes:
                if package in image.pins:
                    where = ".".join((*keys, "pins", package))
                    raise file.place(*keys, "pins", package).error(f"{where}: found a pin of what is also excluded")

    def _vendor(self, file: Loaded[Target], keys: tuple[str, ...], image: Image) -> None:
        """An index of a vendor's is for one package, which must be pinned; only that one can have a stand-in."""
        where = ".".join(keys)
        if (image.index is None) != (image.vendor is None):
            found = "index" if image.vendor is None else "vendor"
            raise file.place(*keys, found).error(f"{where}: found {found} alone, expected index and vendor together")
        if image.vendor is not None and image.vendor not in image.pins:
            raise file.place(*keys, "vendor").error(
                f'{where}.vendor: found "{image.vendor}", expected one of the pins: {", ".join(image.pins) or "none"}'
            )
        if image.stand_in is not None and image.vendor is None:
            raise file.place(*keys, "stand_in").error(f"{where}.stand_in: found it without vendor, expected both")

    def _accounts(self, file: Loaded[Target], keys: tuple[str, ...], image: Image) -> None:
        """Whoever has our containers' uid in the image would own what they may write."""
        for account, uid in image.base.accounts.items():
            if uid == RUN_AS_UID:
                where = ".".join((*keys, "base", "accounts", account))
                raise file.place(*keys, "base", "accounts", account).error(
                    f"{where}: found uid {uid}, expected another one: our containers run as it"
                )

    def _upstream(self, file: Loaded[Target]) -> None:
        """Upstream's images stand where ours do; one that is there needs no reason why it is not."""
        target = file.record
        ours = [*(["api"] if target.api is not None else []), *target.backends]
        for part, names in (("upstream", target.upstream), ("no_upstream", target.no_upstream)):
            for key in names:
                self._known(file.place(part, key), part, key, ours)
        for key, image in target.upstream.items():
            if key in target.no_upstream:
                raise file.place("no_upstream", key).error(f"no_upstream: found {key}, which has an image in upstream")
            self._known(file.place("upstream", key, "model"), f"upstream.{key}.model", image.model, self.models)
            if image.uid == 0:
                raise file.place("upstream", key, "uid").error(
                    f"upstream.{key}.uid: found 0, expected the image's own user: nothing of a stack runs as root"
                )

    def _needs(self, file: Loaded[Target]) -> None:
        for backend, server in file.record.backends.items():
            for setting, need in server.needs.items():
                keys = ("backends", backend, "needs", setting, "version")
                self._specifier(file.place(*keys), ".".join(keys), need.version)

    def _devices(self, file: Loaded[Target]) -> None:
        """A `${NAME}` that has no default would be an empty text in a stack without its `.env`."""
        found: dict[tuple[str, ...], Devices] = {("devices",): file.record.devices}
        if file.record.api is not None:
            found["api", "devices"] = file.record.api.devices
        for keys, devices in found.items():
            for text in (*devices.nodes, *devices.mounts.values(), *devices.groups):
                for name in _VARIABLE.findall(text):
                    if name not in devices.variables:
                        where = ".".join(keys)
                        raise file.place(*keys).error(
                            f"{where}: found ${{{name}}}, expected a variable that {where}.variables gives a default"
                        )

    def _settings(self, file: Loaded[Target]) -> None:
        """`false` is refused: servers drop it, take it for true, or ask for another option's name."""
        for backend, server in file.record.backends.items():
            for name, value in server.settings.items():
                if value is False:
                    raise file.place("backends", backend, "settings", name).error(
                        f"backends.{backend}.settings.{name}: found false, expected a value or no such line",
                        hint=f"to switch it off, write the server's own option for that, often no-{name}: true",
                    )

    def _stacks(self, file: Loaded[Target]) -> None:
        """The default stack and every other one that gets rendered for this target must be possible."""
        target = file.record
        self._possible(file.place("default_model"), target.name, target.default_backend, target.default_model)
        for backend in target.backends:
            model = self.registry.committed_model(target, backend)
            self._possible(file.place("backends", backend), target.name, backend, model)

    def _possible(self, place: Place, target: str, backend: str, model: str) -> None:
        try:
            self.registry.stack(target=target, backend=backend, model=model)
        except ConfigurationError as failure:
            raise place.error(failure.message, hint=failure.hint) from None

    def _requires_something_held(self, file: Loaded[Model]) -> None:
        """A requirement on a package that no image holds would check nothing."""
        held = {package for target in self.registry.targets.values() for package in _all_held(target)}
        for package in file.record.requires:
            if canonicalize_name(package) not in held:
                raise file.place("requires", package).error(
                    f'requires: found "{package}", expected a package that an image of some target holds'
                )

    def _known(self, place: Place, where: str, name: str, known: Collection[str]) -> None:
        if name not in known:
            close = schema.nearest(name, known)
            raise place.error(
                f'{where}: found "{name}", expected one of {", ".join(known) or "none"}',
                hint=f'did you mean "{close}"?' if close else "",
            )


def _target_images(target: Target) -> dict[tuple[str, ...], Image]:
    """All images of a target by their keys in its file."""
    images: dict[tuple[str, ...], Image] = {
        ("backends", name, "image"): server.image for name, server in target.backends.items()
    }
    if target.api is not None:
        images["api", "image"] = target.api.image
    return images


def _all_held(target: Target) -> set[str]:
    images = _target_images(target).values()
    return {package for image in images for platform in target.platforms for package in _held(image, platform)}
