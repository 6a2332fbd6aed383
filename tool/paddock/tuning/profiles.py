"""Reading the profiles of cards (`templates/profiles/*.yaml`), strictly, and choosing one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.version import InvalidVersion, Version

from paddock.errors import ConfigurationError, UsageError
from paddock.matrix import strictyaml
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.nearest import unknown
from paddock.matrix.records import Accelerator, Target
from paddock.matrix.registry import Registry
from paddock.matrix.strictyaml import Loaded


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A value that somebody published for a card, and where."""

    value: int | float
    origin: str
    beside_layout: bool = False  # found with the layout model on the same card


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A card, or a class of cards by memory, that `paddock tune` can size a server for."""

    name: str
    description: str
    accelerator: Accelerator
    memory: float  # GiB; of one card, or of the server where there is no card
    batch: Published  # tokens of one step, where memory allows
    default_for: tuple[str, ...] = ()  # targets for which it is taken when no card is named
    by_memory: bool = False  # a class that `--vram` can choose
    compute_capability: str | None = None
    most_sequences: Published | None = None
    # Backend -> option -> value.
    settings: Mapping[str, Mapping[str, Published]] = field(default_factory=FrozenDict)


def load(templates: Path, registry: Registry) -> Mapping[str, Profile]:
    """All profiles by name. Raises DataError at the first value that is wrong or names something unknown."""
    files = {
        path.stem: strictyaml.read(path, Profile, given={"name": path.stem})
        for path in sorted((templates / "profiles").glob("*.yaml"))
        if not path.stem.startswith("_")
    }
    if not files:
        raise ConfigurationError(f"{templates / 'profiles'}: found no data, expected at least one YAML file")
    for file in files.values():
        _check(file, registry)
    return FrozenDict({name: file.record for name, file in files.items()})


def choose(
    profiles: Mapping[str, Profile], target: Target, *, card: str | None = None, memory: float | None = None
) -> Profile:
    """The profile of a card: by its name, else the class of that memory (GiB), else the target's own.

    Raises UsageError for an unknown card and where nothing says which one it is, ConfigurationError for a
    memory below the smallest class.
    """
    if card is not None:
        return _named(profiles, card)
    for profile in profiles.values():
        if target.name in profile.default_for:
            return profile
    alike = [profile for profile in profiles.values() if profile.accelerator is target.accelerator]
    if memory is None:
        raise UsageError(
            f"target {target.name}: found no card, expected --vram or --card",
            hint=f"cards: {', '.join(profile.name for profile in alike)}",
        )
    classes = sorted((profile for profile in alike if profile.by_memory), key=lambda profile: profile.memory)
    not_larger = [profile for profile in classes if profile.memory <= memory]
    if not not_larger:
        least = f"{classes[0].memory:g}" if classes else "a card"
        raise ConfigurationError(
            f"target {target.name}: found {memory:g} GB, expected at least {least}: "
            "no source says that the model and its layout model work with less",
            hint="llama.cpp on the target cpu needs no card",
        )
    return not_larger[-1]


def _named(profiles: Mapping[str, Profile], card: str) -> Profile:
    if card not in profiles:
        raise unknown("card", card, profiles)
    return profiles[card]


def _check(file: Loaded[Profile], registry: Registry) -> None:
    profile = file.record
    for index, name in enumerate(profile.default_for):
        if name not in registry.targets:
            raise file.place("default_for", index).error(
                f'default_for: found "{name}", expected one of {", ".join(registry.targets)}'
            )
    for backend, settings in profile.settings.items():
        if backend not in registry.backends:
            raise file.place("settings", backend).error(
                f'settings: found "{backend}", expected one of {", ".join(registry.backends)}'
            )
        tuning = registry.backends[backend].tuning
        known = [option for option in (tuning.share, tuning.sequences) if option] if tuning else []
        for option in settings:
            if option not in known:
                expected = ", ".join(known) or "none"
                raise file.place("settings", backend, option).error(
                    f'settings.{backend}: found "{option}", expected one of {expected}'
                )
    _check_capability(file)


def _check_capability(file: Loaded[Profile]) -> None:
    capability = file.record.compute_capability
    try:
        Version(capability or "0")
    except InvalidVersion:
        raise file.place("compute_capability").error(
            f'compute_capability: found "{capability}", expected a version such as "8.6"'
        ) from None
