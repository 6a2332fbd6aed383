"""Cross references between the data files: names must exist, and values must fit what they refer to."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from paddock.errors import ConfigurationError
from paddock.matrix.nearest import did_you_mean
from paddock.matrix.possible import held_packages
from paddock.matrix.records import RUN_AS_UID, Backend, Devices, Image, Model, ServerRole, Target, WeightsRole
from paddock.matrix.registry import OFFLINE_SUFFIX, Files, Registry
from paddock.matrix.strictyaml import Loaded
from paddock.matrix.yamltree import Place

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Checks all cross references of a registry; each wrong one is refused where it stands."""

    registry: Registry
    targets: Files[Target]
    backends: Files[Backend]
    models: Files[Model]

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
                raise place.error(
                    f'weights[{index}].name: found "{weights.name}" again, expected each set once'
                )
            sources = bool(weights.bos or weights.huggingface or weights.modelscope)
            if weights.made and sources:
                raise place.error(f"weights[{index}]: found a source, expected none for what paddock makes")
            if not weights.made and not sources:
                raise place.error(
                    f"weights[{index}]: found no source, expected one of bos, huggingface, modelscope"
                )
            if weights.role in roles:
                raise place.error(
                    f"weights[{index}].role: found {weights.role} again, expected one set a role"
                )
            names.add(weights.name)
            roles.add(weights.role)

    def _specifiers(self, file: Loaded[Model]) -> None:
        for package, wanted in file.record.requires.items():
            self._specifier(file.place("requires", package), f"requires.{package}", wanted)

    def _specifier(self, place: Place, where: str, wanted: str) -> None:
        try:
            SpecifierSet(wanted)
        except InvalidSpecifier:
            raise place.error(
                f'{where}: found "{wanted}", expected a version specifier such as ">=3.6"'
            ) from None

    def _pipeline(self, file: Loaded[Model]) -> None:
        pipeline = file.record.pipeline
        if pipeline is None:
            return
        layouts = [weights.name for weights in file.record.weights if weights.role is WeightsRole.LAYOUT]
        if pipeline.layout_model not in layouts and not (layouts and file.record.made):
            known = ", ".join(layouts) or "there are none"
            raise file.place("pipeline", "layout_model").error(
                f'pipeline.layout_model: found "{pipeline.layout_model}", '
                f"expected the name of weights with the role layout: {known}"
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
        self._code(file)
        self._needs(file)
        self._devices(file)
        self._stacks(file)

    def _images(self, file: Loaded[Target]) -> None:
        for program, image in file.record.images.items():
            keys = ("api", "image") if program == ServerRole.API else ("backends", program, "image")
            self._vendor(file, keys, image)
            self._accounts(file, keys, image)
            for package in image.excludes:
                if package in image.pins:
                    where = ".".join((*keys, "pins", package))
                    raise file.place(*keys, "pins", package).error(
                        f"{where}: found a pin of what is also excluded"
                    )

    def _vendor(self, file: Loaded[Target], keys: tuple[str, ...], image: Image) -> None:
        """A vendor's index is for one package, which must be pinned; only this one can have a stand-in."""
        where = ".".join(keys)
        if (image.index is None) != (image.vendor is None):
            found = "index" if image.vendor is None else "vendor"
            raise file.place(*keys, found).error(
                f"{where}: found {found} alone, expected index and vendor together"
            )
        if image.vendor is not None and image.vendor not in image.pins:
            pins = ", ".join(image.pins) or "none"
            raise file.place(*keys, "vendor").error(
                f'{where}.vendor: found "{image.vendor}", expected one of the pins: {pins}'
            )
        if image.stand_in is not None and image.vendor is None:
            raise file.place(*keys, "stand_in").error(
                f"{where}.stand_in: found it without vendor, expected both"
            )

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
        ours = list(target.images)
        for part, names in (("upstream", target.upstream), ("no_upstream", target.no_upstream)):
            for key in names:
                self._known(file.place(part, key), part, key, ours)
        for key, image in target.upstream.items():
            if key in target.no_upstream:
                raise file.place("no_upstream", key).error(
                    f"no_upstream: found {key}, which has an image in upstream"
                )
            self._known(
                file.place("upstream", key, "model"), f"upstream.{key}.model", image.model, self.models
            )
            if image.uid == 0:
                raise file.place("upstream", key, "uid").error(
                    f"upstream.{key}.uid: found 0, expected the image's own user: "
                    "nothing of a stack runs as root"
                )

    def _needs(self, file: Loaded[Target]) -> None:
        for backend, server in file.record.backends.items():
            for setting, need in server.needs.items():
                keys = ("backends", backend, "needs", setting, "version")
                self._specifier(file.place(*keys), ".".join(keys), need.version)

    def _devices(self, file: Loaded[Target]) -> None:
        """A `${NAME}` that has no default would be an empty text in a stack without its `.env`."""
        self._variables(file, ("devices",), file.record.devices)
        if file.record.api is not None:
            self._variables(file, ("api", "devices"), file.record.api.devices)

    def _variables(self, file: Loaded[Target], keys: tuple[str, ...], devices: Devices) -> None:
        where = ".".join(keys)
        texts = " ".join((*devices.nodes, *devices.mounts.values(), *devices.groups))
        for name in _VARIABLE.findall(texts):
            if name not in devices.variables:
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
                        hint=f"to switch it off, write the server's own option for it, often no-{name}: true",
                    )

    def _stacks(self, file: Loaded[Target]) -> None:
        """The default stack and every other one that gets rendered for this target must be possible."""
        target = file.record
        self._possible(file.place("default_model"), target.name, target.default_backend, target.default_model)
        for backend in target.backends:
            model = self.registry.committed_model(target, backend)
            self._possible(file.place("backends", backend), target.name, backend, model)

    def _code(self, file: Loaded[Target]) -> None:
        """A server runs Python out of weights only where each model that it can serve says which."""
        for backend, server in file.record.backends.items():
            if "trust-remote-code" not in server.settings:
                continue
            for model in self.registry.models.values():
                if backend in model.backends and not model.made and not model.code:
                    raise file.place("backends", backend, "settings", "trust-remote-code").error(
                        f"backends.{backend}.settings.trust-remote-code: found it, expected none: "
                        f"model {model.name} has no hashes of its code",
                        hint=f"name them in templates/models/{model.name}.yaml, under code",
                    )

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
            expected = ", ".join(known) or "none"
            raise place.error(
                f'{where}: found "{name}", expected one of {expected}', hint=did_you_mean(name, known)
            )


def _all_held(target: Target) -> set[str]:
    """The packages of all images of a target."""
    pairs = itertools.product(target.images.values(), target.platforms)
    return {package for image, platform in pairs for package in held_packages(image, platform)}
