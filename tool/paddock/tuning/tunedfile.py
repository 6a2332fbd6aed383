"""The VLM server's configuration file with tuned values: its text, and putting it into a stack's folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from paddock.durable import write_durably, writing
from paddock.errors import ConfigurationError
from paddock.matrix.records import Offer
from paddock.render.renderer import Renderer
from paddock.stack.envfile import TUNED
from paddock.tuning.sizing import Tuning

_OPTION = re.compile(r"^([a-z][a-z0-9-]*)(?::? |$)")


def text(templates: Path, tuning: Tuning, *, command: str) -> str:
    """The whole file. Above each value stands where it comes from; `command` is how this one was made."""
    name = tuning.stack.backend.configuration
    files = Renderer(templates).stack(tuning.tuned_stack())
    rendered = next(content for path, content in files.items() if path.name == name)
    origins = _origins(tuning)
    lines = [
        f"{TUNED} `{command}`.",
        "# `paddock render` leaves this file alone; without it, render writes the target's.",
        f"# {tuning.profile.description}",
        f"# {tuning.room}",
    ]
    for line in rendered.splitlines()[1:]:
        option = _OPTION.match(line)
        if option:
            lines.append(f"# {origins.get(option[1], 'the stack itself')}")
        lines.append(line)
    return "\n".join([*lines, *_offered(tuning.offers)]) + "\n"


def write(folder: Path, tuning: Tuning, content: str) -> Path:
    """Put the file into a stack's folder in one step, and return its path."""
    path = folder / tuning.stack.backend.configuration
    with writing(path, raising=ConfigurationError):
        write_durably(path, content.encode())
    return path


def _origins(tuning: Tuning) -> Mapping[str, str]:
    unchanged = dict.fromkeys(tuning.stack.vlm.settings, f"target {tuning.stack.target.name}")
    return {**unchanged, **{setting.option: setting.origin for setting in tuning.settings}}


def _offered(offers: tuple[Offer, ...]) -> Iterator[str]:
    """Environment variables that nobody sets unasked, as one would put them into compose.override.yaml."""
    for offer in offers:
        yield f"# Offered, not set: {offer.name}={offer.value} - {offer.gain}. Price: {offer.price}."
        variable = f'{{{offer.name}: "{offer.value}"}}'
        yield f"#   compose.override.yaml: {{services: {{vlm: {{environment: {variable}}}}}}}"
