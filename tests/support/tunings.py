"""Every stack on every card that it can be sized for, with the defaults of `paddock tune`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from paddock import paths
from paddock.errors import ConfigurationError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant
from paddock.tuning import profiles
from paddock.tuning.sizing import Tuning, Value, Wish, tune

REGISTRY = load_registry(paths.templates())
CARDS = profiles.load(paths.templates(), REGISTRY)
STACKS = [
    stack
    for stack in REGISTRY.stacks()
    if stack.variant is Variant.ONLINE and stack.model.footprint is not None
]


@cache
def every() -> dict[str, Tuning]:
    """All of them by the names of stack and card."""
    return {f"{tuning.stack.name}-{tuning.profile.name}": tuning for tuning in _every()}


def _every() -> Iterator[Tuning]:
    for stack in STACKS:
        for card in CARDS.values():
            if card.accelerator is not stack.target.accelerator:
                continue
            try:
                yield tune(stack, card, Wish())
            except ConfigurationError as failure:
                assert "compute capability" in failure.message


def values(tuning: Tuning) -> dict[str, Value]:
    """The value of each option."""
    return {setting.option: setting.value for setting in tuning.settings}
