"""Reading the profiles of cards (`templates/profiles/*.yaml`), strictly, and choosing one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from packaging.version import InvalidVersion, Version

from paddock.errors import ConfigurationError, UsageError
from paddock.matrix import strictyaml
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.records import Profile, Target
from paddock.matrix.registry import Registry
from paddock.matrix.strictyaml import Loaded


def load(templates: Path, registry: Registry) -> Mapping[str, Profile]:
    """All profiles by name. Raises DataError at the first value that is wrong or names what is not in the
    registry.
    """
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
    own = [each for each in profiles.values() if target.name in each.default_for]
    if memory is None or own:
        if own:
            return own[0]
        raise UsageError(
            f"target {target.name}: found no card, expected --vram or --card",
            hint=f"cards: {', '.join(_of(profiles, target))}",
        )
    classes = sorted(
        (each for each in profiles.values() if _is_class(each, target)), key=lambda each: each.memory
    )
    below = [each for each in classes if each.memory <= memory]
    if not below:
        least = f"{classes[0].memory:g}" if classes else "a card"
        raise ConfigurationError(
            f"target {target.name}: found {memory:g} GB, expected at least {least}: no source says that the model and "
            "its layout model work with less",
            hint="llama.cpp on the target cpu needs no card",
        )
    return below[-1]


def _named(profiles: Mapping[str, Profile], card: str) -> Profile:
    if card in profiles:
        return profiles[card]
    close = strictyaml.nearest(card, profiles)
    meant = f': did you mean "{close}"?' if close else ""
    raise UsageError(f'unknown card "{card}"{meant}', hint=f"known: {', '.join(profiles)}")


def _of(profiles: Mapping[str, Profile], target: Target) -> list[str]:
    return [each.name for each in profiles.values() if each.accelerator is target.accelerator]


def _is_class(profile: Profile, target: Target) -> bool:
    return profile.by_memory and profile.accelerator is target.accelerator


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
        known = (tuning.share, tuning.sequences) if tuning else ()
        for option in settings:
            if option not in known:
                raise file.place("settings", backend, option).error(
                    f'settings.{backend}: found "{option}", expected one of {", ".join(filter(None, known)) or "none"}'
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
