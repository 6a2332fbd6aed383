"""A stack's `.env`: settings that a user changed survive a new render."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

TUNED = "# Tuned by"  # how a file begins that `paddock tune --write` put in place of a rendered one

_ASSIGNMENT = re.compile(r"^([A-Z][A-Z0-9_]*)=(.*)$")


def keep_settings(text: str, present: str, *, but: Collection[str] = ()) -> str:
    """The .env `text` with the values and further variables of the file `present`, but for those in `but`."""
    kept = {name: value for name, value in _assignments(present) if name not in but}
    known = dict(_assignments(text))
    lines = [
        f"{match[1]}={kept.get(match[1], match[2])}" if (match := _ASSIGNMENT.match(line)) else line
        for line in text.splitlines()
    ]
    lines += [f"{name}={value}" for name, value in kept.items() if name not in known]
    return "\n".join(lines) + "\n"


def is_tuned(path: Path) -> bool:
    """Whether `paddock tune --write` made the file that is there; nothing else may replace it."""
    return path.suffix in (".yaml", ".conf") and path.is_file() and path.read_text("utf-8").startswith(TUNED)


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if match := _ASSIGNMENT.match(line):
            yield match[1], match[2]
