"""The file of keys as the door reads it: names and hashes, and what each key may beyond the defaults.

A line is `sha256:HEX NAME`, then perhaps `allow=vlm`, `at-once=N`, `per-minute=N`, `mib-per-hour=N`, as `paddock keys
add` writes it; empty lines and lines that begin with # say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LARGEST = 1_000_000  # bytes of the file
LIMITS = ("at-once", "per-minute", "mib-per-hour")
LINE = re.compile(r"sha256:(?P<digest>[0-9a-f]{64})[ \t]+(?P<name>[A-Za-z0-9._-]{1,64})(?P<options>(?:[ \t]+\S+)*)")
OPTION = re.compile("(?P<name>allow|" + "|".join(LIMITS) + ")=(?P<value>vlm|[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Key:
    """One key: the SHA-256 of its bytes in hexadecimal, its name, and what differs from the defaults."""

    digest: str
    name: str
    vlm: bool
    limits: dict[str, int]


def read(file: Path, *, say: Callable[[str], None]) -> list[Key]:
    """The keys of a file, as `parsed` has them. Raises OSError where it cannot be read, ValueError where it is huge."""
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"found more than {LARGEST} bytes, expected a file of keys")
    return parsed(content.decode("ascii", "replace"), say=say)


def parsed(text: str, *, say: Callable[[str], None]) -> list[Key]:
    """The keys in the text; a line that is wrong is said by its number and left out, so that it lets nobody in."""
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        options = [OPTION.fullmatch(word) for word in found["options"].split()] if found else []
        if found is None or None in options:
            say(f"keys: line {number} is not `sha256:HEX NAME` with options that the door knows, and is left out")
            continue
        values = [(option["name"], option["value"]) for option in options if option]
        keys[found["digest"]] = Key(
            digest=found["digest"],
            name=found["name"],
            vlm=("allow", "vlm") in values,
            limits={name: int(value) for name, value in values if name in LIMITS and value.isdigit()},
        )
    return list(keys.values())
