"""The settings of a stack: what each is, where its value comes from, and changing one in `.env`.

A setting is a variable that the stack's own Compose files ask for, so a folder is enough: nothing here needs
templates. What it means stands above it in `.env.example`, or in `.env` itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from paddock import engine
from paddock.durable import write_durably
from paddock.errors import ConfigurationError, PreflightError, UsageError
from paddock.matrix import nearest
from paddock.report import Reporter
from paddock.stack import dotenv, envfile, preflight
from paddock.stack.configuration import read_configuration
from paddock.stack.folder import (
    COMPOSE_FILE,
    ENV_FILE,
    FETCH_FILE,
    IMAGES_FOLDER,
    OVERRIDE_FILES,
    StackFolder,
)

HIDDEN = "********"

_FILES_VARIABLE = "COMPOSE_FILE"  # Compose's own: which files a stack is made of
_NOTHING = "/dev/null"  # what a compose file mounts where a variable that names a folder is empty
# A variable with its default, which may hold another one. `:?` asks for what nobody sets in .env.
_USE = re.compile(r"\$\{(?P<name>[A-Z][A-Z0-9_]*)(?::?[-+](?:[^{}$]|\$\{[^{}]*\})*)?\}")
_SECRET = re.compile(r"(^|_)(KEY|TOKEN|PASSWORD|SECRET)$")
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # the user and password of a URL


class Origin(StrEnum):
    """Where the value of a setting comes from; what stands further down counts first."""

    DEFAULT = "default"
    FILE = ".env"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting. What is secret in its values is left out."""

    name: str
    value: str
    default: str
    origin: Origin
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A setting that was written. `before` is what it was, `services` have to be made anew for it.

    `services` is None where the stack could not be read before. `hidden_by` is the value that this shell has
    for it instead; None where it has none. Secrets are left out of all values.
    """

    name: str
    before: str
    after: str
    path: Path
    services: tuple[str, ...] | None
    hidden_by: str | None


def settings(folder: StackFolder) -> tuple[Setting, ...]:
    """Every setting of a stack, in the order of its `.env`. Raises DataError where Compose refuses that."""
    uses, written = _uses(folder.path), folder.settings()
    surroundings = {**os.environ, **folder.environment}
    meanings = _meanings(folder.path)
    order = [*(name for name in meanings if name in uses), *sorted(uses.keys() - meanings.keys())]
    return tuple(_setting(name, uses[name], written, surroundings, meanings.get(name, "")) for name in order)


def setting(folder: StackFolder, name: str) -> Setting:
    """One setting. Raises UsageError for a name that the stack does not read."""
    found = {known.name: known for known in settings(folder)}
    if name not in found:
        raise nearest.unknown("setting", name, found)
    return found[name]


def change(folder: StackFolder, name: str, value: str, *, report: Reporter) -> Change:
    """Write a value to `.env` once Compose has taken it.

    What `paddock up` would refuse on this host as it is now is only warned of: more may be about to change.
    Raises UsageError for an unknown name, ConfigurationError for a value that Compose refuses.
    """
    before = setting(folder, name)
    if "\0" in value:
        raise UsageError(f"{name}: found a zero byte in the value, expected text")
    services = _services_changed(folder, name, value, report)
    path = folder.path / ENV_FILE
    mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else None
    present = path.read_bytes() if path.is_file() else b""
    write_durably(
        path, envfile.with_setting(present, name, value, path), mode=0o644 if mode is None else mode
    )
    if mode is not None:
        path.chmod(mode)  # whatever the umask
    shell = {**os.environ, **folder.environment}.get(name)
    return Change(
        name=name,
        before=before.value,
        after=_without_secrets(name, value),
        path=path,
        services=services,
        hidden_by=None if shell is None else _without_secrets(name, shell),
    )


def _services_changed(folder: StackFolder, name: str, value: str, report: Reporter) -> tuple[str, ...] | None:
    """The services that are other ones with the new value. Raises ConfigurationError where it cannot be."""
    new = folder.with_environment({name: value}).document()
    try:
        old = folder.document()
    except ConfigurationError:
        return None
    refused = _refused_here(folder, new)
    if refused and refused != _refused_here(folder, old):
        report.warn(f"`{folder.paddock('up')}` would refuse that now: {refused}")
    services, before = new.get("services") or {}, old.get("services") or {}
    return tuple(service for service in services if services[service] != before.get(service))


def _refused_here(folder: StackFolder, document: Mapping[str, Any]) -> str:
    """What `paddock up` would refuse on this host; empty where nothing, or where another runs the stack."""
    try:
        if engine.is_local():
            preflight.check_host(folder, read_configuration(document))
    except (PreflightError, ConfigurationError) as refused:
        return refused.message
    return ""


def _setting(
    name: str, default: str, written: Mapping[str, str], surroundings: Mapping[str, str], meaning: str
) -> Setting:
    found = {Origin.FILE: written.get(name), Origin.ENVIRONMENT: surroundings.get(name)}
    origin = max((place for place in found if found[place] is not None), default=Origin.DEFAULT, key=_rank)
    value = found.get(origin) or ""
    if not value:  # an empty one counts as none
        origin, value = (origin if not default else Origin.DEFAULT), default
    return Setting(
        name=name,
        value=_without_secrets(name, value),
        default=default,
        origin=origin,
        meaning=meaning,
    )


def _rank(origin: Origin) -> int:
    return list(Origin).index(origin)


def _without_secrets(name: str, value: str) -> str:
    if value and _SECRET.search(name):
        return HIDDEN
    return _USER.sub(HIDDEN, value)


def _uses(path: Path) -> dict[str, str]:
    """The variables that the Compose files of a stack read, each with its default."""
    found = {_FILES_VARIABLE: COMPOSE_FILE}
    names = (COMPOSE_FILE, FETCH_FILE, *OVERRIDE_FILES)
    parts = [*(path / name for name in names), *sorted((path / IMAGES_FOLDER).glob("*.yaml"))]
    for part in (part for part in parts if part.is_file()):
        for use in _USE.finditer(part.read_text("utf-8", errors="replace")):
            name, default = use["name"], dotenv.expanded(use[0], _unset)
            found.setdefault(name, "" if default == _NOTHING else default)
    return found


def _unset(_name: str) -> None:
    """The value of any variable where none is set."""


def _meanings(path: Path) -> dict[str, str]:
    """What each setting means: the comment above it, or above those that it stands below without a gap."""
    example = next((file for file in (path / ".env.example", path / ENV_FILE) if file.is_file()), None)
    if example is None:
        return {}
    text = dotenv.decoded(example.read_bytes())
    meanings, end, meaning = {}, 0, ""
    for statement in dotenv.statements(text, example):
        lead = text[end : statement.start].split("\n")[1 if end else 0 : -1]
        if lead:
            meaning = " ".join(_last_comment(lead))
        meanings[statement.name] = meaning
        end = statement.end
    return meanings


def _last_comment(lines: list[str]) -> Iterator[str]:
    """The lines of the comment that stands right above, without their marks."""
    whole = "\n".join(lines).rpartition("\n\n")[2]
    return (line.lstrip("# ").rstrip() for line in whole.split("\n") if line.startswith("# "))
