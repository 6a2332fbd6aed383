"""What people write for the tables of the documents: `descriptions.yaml`, read strictly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from paddock.errors import ConfigurationError
from paddock.matrix import strictyaml

FILE = Path(__file__).with_name("descriptions.yaml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What a message of paddock means, and what to do about it."""

    meaning: str
    do: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is done about a fault of a bundle, and how the engine is left."""

    done: str
    engine: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptions:
    """The whole file."""

    exit_codes: Mapping[str, str]
    tool_variables: Mapping[str, str]
    messages: Mapping[str, Message]
    faults: Mapping[str, Fault]
    chinese: Mapping[str, str]


@cache
def descriptions() -> Descriptions:
    """The file, read once. Raises DataError at the first thing that is wrong."""
    return strictyaml.read(FILE, Descriptions).record


def require_same(part: str, described: Collection[str], wanted: Iterable[str]) -> None:
    """Refuse a description that is missing or that nothing asks for."""
    missing = sorted(set(wanted) - set(described))
    needless = sorted(set(described) - set(wanted))
    if missing or needless:
        raise ConfigurationError(
            f"{FILE}: {part}: found no description of {missing} and needless ones of {needless}, "
            "expected one for each name that exists"
        )


def in_chinese(english: str) -> str:
    """What README.zh-CN.md says for a text of a table, sentence by sentence."""
    translations = descriptions().chinese
    if english in translations:
        return translations[english]
    first, _, rest = english.partition(". ")
    if not rest or f"{first}." not in translations:
        raise ConfigurationError(f"{FILE}: chinese: found no translation of {english!r}, expected one")
    return translations[f"{first}."] + in_chinese(rest)
