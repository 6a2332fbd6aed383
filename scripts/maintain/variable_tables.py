"""Variables: the tables of docs/reference/configuration.md and the blocks of .env.example.

What a variable means stands once: above its field in building/settings.py for builds, above its line in
templates/compose/env.j2 (and in `host_variables` of a target) for stacks.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from textwrap import wrap

from blocks import code, table
from code_tables import PACKAGE
from descriptions import descriptions, require_same
from matrix_tables import registry
from paddock import paths
from paddock.building import settings
from paddock.errors import ConfigurationError
from paddock.render.renderer import Renderer

WIDTH = 120
# These stacks' .env files have every variable between them; the first that has one gives its comment.
EXPLAINING = ("cu126", "ascend-910b")
# The stack whose defaults are shown first.
DEFAULT = "cpu"
# What a compose file mounts where a variable that names a folder is empty: not a default that anybody writes.
NOTHING = "/dev/null"

_USE = re.compile(r"\$\{(?P<name>[A-Z_]+):-(?P<default>[^}]*)\}")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
_FIELD = re.compile(r"    (?P<name>[a-z_]+): ")
_READ_FROM_SHELL = re.compile(r"""(?:environ(?:ment)?(?:\.get\(|\[)|envvar=)["']([A-Z_]+)["']""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Variables under one comment, each with its default."""

    comment: str
    defaults: Mapping[str, str]

    def only(self, names: set[str]) -> Group:
        """The group without the variables that are not named."""
        kept = {name: default for name, default in self.defaults.items() if name in names}
        return Group(comment=self.comment, defaults=kept)


# --- builds -------------------------------------------------------------------------------------------------


@cache
def _of_builds() -> Sequence[Group]:
    """The fields of BuildSettings, with the comments above them."""
    source = (PACKAGE / "building/settings.py").read_text("utf-8")
    (record,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == settings.BuildSettings.__name__
    )
    lines = source.splitlines()[record.lineno : record.end_lineno]
    return tuple(_groups(lines, "    # ", _field))


def _field(line: str) -> tuple[str, str] | None:
    field = _FIELD.match(line)
    if field is None:
        return None
    default = settings.BuildSettings.__dataclass_fields__[field["name"]].default
    return field["name"].upper(), default if isinstance(default, str) else ""


# --- stacks -------------------------------------------------------------------------------------------------


@cache
def _rendered() -> Mapping[PurePosixPath, str]:
    return Renderer(paths.templates()).all(registry())


@cache
def _defaults_of_stacks() -> Mapping[str, Sequence[str]]:
    """Every variable of the compose files with the defaults that it has there, those of DEFAULT first."""
    defaults: dict[str, dict[str, None]] = {}
    for path in sorted(_rendered(), key=lambda path: (path.parts[1:2] != (DEFAULT,), path)):
        of_stack = path.name in ("compose.yaml", "site.yaml") or (path.parts[0], path.parent.name) == (
            "compose",
            "images",
        )
        for use in _USE.finditer(_rendered()[path]) if of_stack else ():
            default = use["default"] if use["default"] != NOTHING else ""
            defaults.setdefault(use["name"], {})[default] = None
    return {name: tuple(values) for name, values in defaults.items()}


@cache
def _of_stacks() -> Sequence[Group]:
    """The variables of `.env` files, with the comments above them."""
    groups: list[Group] = []
    known: set[str] = set()
    for stack in EXPLAINING:
        text = _rendered()[PurePosixPath("compose") / stack / ".env"]
        for group in _groups(text.splitlines(), "# ", _assignment):
            new = group.only(set(group.defaults) - known)
            known |= set(new.defaults)
            groups += [new] if new.defaults else []
    if known != set(_defaults_of_stacks()):
        difference = sorted(known ^ set(_defaults_of_stacks()))
        raise ConfigurationError(
            f".env of {', '.join(EXPLAINING)}: found other variables than in the compose files: {difference}"
        )
    return tuple(groups)


def _assignment(line: str) -> tuple[str, str] | None:
    assignment = _ASSIGNMENT.match(line)
    if assignment is None:
        return None
    return assignment["name"], next(iter(_defaults_of_stacks()[assignment["name"]]), "")


# --- all of them --------------------------------------------------------------------------------------------


def _groups(
    lines: Sequence[str], mark: str, read: Callable[[str], tuple[str, str] | None]
) -> Iterator[Group]:
    """Comments and the variables below each of them; anything else ends a group."""
    comment: list[str] = []
    defaults: dict[str, str] = {}
    for line in [*lines, ""]:
        variable = read(line)
        if variable is not None:
            defaults[variable[0]] = variable[1]
            continue
        if defaults:
            if not comment:
                raise ConfigurationError(f"{', '.join(defaults)}: found no comment above, expected one")
            yield Group(comment=" ".join(comment), defaults=dict(defaults))
            defaults.clear()
            comment.clear()
        if line.startswith(mark):
            comment.append(line.removeprefix(mark))
        else:
            comment.clear()


@cache
def groups(kind: str) -> Sequence[Group]:
    """The variables of a kind: those that builds and stacks read, builds alone, or stacks alone."""
    of_builds = {name for group in _of_builds() for name in group.defaults}
    of_stacks = set(_defaults_of_stacks())
    wanted = {
        "both": of_builds & of_stacks,
        "build": of_builds - of_stacks,
        "stack": of_stacks - of_builds,
    }[kind]
    kept = (group.only(wanted) for group in (_of_stacks() if kind == "stack" else _of_builds()))
    return tuple(group for group in kept if group.defaults)


def variables(kind: str) -> str:
    """A table of variables, one row for each comment."""
    rows = ((code(group.defaults), _shown(group), group.comment) for group in groups(kind))
    return table(("variable", "default", "meaning"), rows)


def _shown(group: Group) -> str:
    """The defaults of a group; those of the stack DEFAULT where stacks differ."""
    shown = ", ".join(f"`{default}`" for default in group.defaults.values() if default)
    differs = any(len(_defaults_of_stacks().get(name, ())) > 1 for name in group.defaults if shown)
    return f"{shown} (`{DEFAULT}`; other stacks differ)" if differs else shown


def example(kind: str) -> str:
    """The same for .env.example: each comment, and below it the variables, switched off."""
    lines: list[str] = []
    for group in groups(kind):
        lines += wrap(
            group.comment, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        lines += (f"#{name}={default}" for name, default in group.defaults.items())
    return "\n".join([*lines, ""])


def same_variables() -> str:
    """Variables of other programs that builds take where ours are not set."""
    rows = ((f"`{name}`", code(others)) for name, others in settings.SAME_AS.items())
    return table(("variable", "where it is not set"), rows)


def tool_variables() -> str:
    """Variables that the tool reads from the shell."""
    described = descriptions().tool_variables
    require_same("tool_variables", described, set(_read_from_shell()))
    return table(("variable", "meaning"), ((f"`{name}`", meaning) for name, meaning in described.items()))


def _read_from_shell() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        yield from _READ_FROM_SHELL.findall(Path(path).read_text("utf-8"))
