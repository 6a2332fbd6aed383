"""The registry: all targets, backends and models, and which of them go together.

`Registry.stack` turns names into one stack or says why that stack cannot be; nothing impossible reaches the
templates. `paddock.matrix.load` makes the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from paddock.matrix.nearest import unknown
from paddock.matrix.possible import Serving, default_backend, refuse_impossible, servings
from paddock.matrix.records import Backend, Model, Stack, Target, Variant
from paddock.matrix.strictyaml import Loaded

Record = TypeVar("Record", Target, Backend, Model)
Files = Mapping[str, Loaded[Record]]

OFFLINE_SUFFIX = "-offline"


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """All records by name, in alphabetical order; `load_registry` has checked every cross reference."""

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

        `<target>-offline` is the target with the variant offline. Where a model is named that the default
        backend cannot serve, the target's first backend that can serve it is taken. Raises UsageError for an
        unknown name, ConfigurationError for a pair that cannot be.
        """
        base, variant = self._split(target, variant)
        chosen_target = self.target(base)
        chosen_model = self.model(model or chosen_target.default_model)
        chosen_backend = self.backend(backend or default_backend(chosen_target, chosen_model))
        stack = Stack(target=chosen_target, backend=chosen_backend, model=chosen_model, variant=variant)
        refuse_impossible(stack, elsewhere=self._targets_serving(chosen_model))
        return stack

    def stacks(self) -> Iterator[Stack]:
        """Every target with each of its backends in both variants: what is rendered and committed.

        They serve the target's default model, or the first one that the backend can serve.
        """
        for target in self.targets.values():
            for backend in target.backends:
                yield from self._variants(target, backend, self.committed_model(target, backend))

    def committed_model(self, target: Target, backend: str) -> str:
        """The model of the stack that is rendered for that backend of that target."""
        default = self.models[target.default_model]
        if backend in default.backends:
            return default.name
        served = (serving.model.name for serving in self.servings(target) if serving.backend == backend)
        return next(served, default.name)

    def all_stacks(self) -> Iterator[Stack]:
        """Every possible stack, with every model."""
        for target in self.targets.values():
            for serving in self.servings(target):
                yield from self._variants(target, serving.backend, serving.model.name)

    def servings(self, target: Target) -> Iterator[Serving]:
        """Each backend of a target with each model that it can serve there."""
        return servings(target, self.models.values())

    def _variants(self, target: Target, backend: str, model: str) -> Iterator[Stack]:
        for variant in Variant:
            yield self.stack(target=target.name, backend=backend, model=model, variant=variant)

    def _targets_serving(self, model: Model) -> str:
        """The targets that can serve a model, in words."""
        names = (target.name for target in self.targets.values() if any(servings(target, [model])))
        return " or ".join(names)

    def _split(self, target: str, variant: Variant) -> tuple[str, Variant]:
        if target not in self.targets and target.endswith(OFFLINE_SUFFIX):
            return target.removesuffix(OFFLINE_SUFFIX), Variant.OFFLINE
        return target, variant


def _look_up(kind: str, name: str, known: Mapping[str, Record]) -> Record:
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]
