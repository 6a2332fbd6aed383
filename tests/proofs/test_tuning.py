"""What `paddock tune` writes is accepted by the server version that it is written for (see evidence.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evidence import configured, read_options, servers_of
from paddock import paths
from paddock.errors import ConfigurationError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant
from paddock.tuning import profiles, tunedfile
from paddock.tuning.sizing import Tuning, Wish, tune

REGISTRY = load_registry(paths.templates())
CARDS = profiles.load(paths.templates(), REGISTRY)


def tunings() -> Iterator[Tuning]:
    """Every stack on every card that it can be sized for."""
    for stack in REGISTRY.stacks():
        if stack.variant is Variant.OFFLINE or stack.model.footprint is None or stack.backend.tuning is None:
            continue
        for card in CARDS.values():
            try:
                yield tune(stack, card, Wish())
            except ConfigurationError:
                continue  # a card of another kind or generation


TUNINGS = {f"{tuning.stack.name}-{tuning.profile.name}": tuning for tuning in tunings()}


def test_every_backend_is_among_them() -> None:
    assert {tuning.stack.backend.name for tuning in TUNINGS.values()} == set(REGISTRY.backends)


@pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS)
def test_the_server_takes_every_tuned_option(tuning: Tuning) -> None:
    text = tunedfile.text(paths.templates(), tuning, command="paddock tune")
    options = list(configured(text, tuning.stack.backend.configuration))
    assert {setting.option for setting in tuning.settings} <= {name for name, _ in options}
    for server in servers_of(tuning.stack):
        recorded = read_options(server.table)
        refused = [reason for name, value in options if (reason := recorded.reason_against(name, value))]
        assert not refused, f"{server.package} {server.version}: {refused}"
