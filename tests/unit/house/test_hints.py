"""Every command in a text that a user may see exists: its name, its options, its number of arguments.

Looked at is all between backticks in the strings of the package, except for docstrings. What is filled in is
one word here; tests of real states run what is then printed.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from paddock.cli import paddock
from repository import REPOSITORY

PACKAGE = REPOSITORY / "tool/paddock"

# Programs of Debian, of Docker and of hardware's vendors that a hint may name, and words of the shell.
KNOWN = frozenset(
    (
        *(
            "apt-get",
            "cat",
            "cd",
            "chgrp",
            "chmod",
            "convert",
            "date",
            "df",
            "dmesg",
            "docker",
            "export",
            "free",
        ),
        *("journalctl", "ls", "make", "minisign", "mkdir", "mv", "npu-smi", "nvidia-ctk", "nvidia-smi"),
        *("qpdf", "soffice", "ss", "sudo", "systemctl", "ulimit", "unset", "usermod"),
    )
)
DOCKER = frozenset(
    (
        *("builder", "compose", "context", "image", "images", "info", "load", "login", "manifest"),
        *("pull", "save", "system", "tag", "version"),
    )
)

# What stands between backticks and is no command: words of files, of logs and of an API.
WORDS = frozenset(
    (
        "/layout-parsing",
        "chmod -R a+rX",
        "Out of memory",
        "VLRecognition.model_name",
        "files",
        "keys",
        "paddock ([a-z ]+) TARGET([^",  # what finds such commands
        "paddock parse",  # who writes into a folder
        "served-model-name",
        "sha256:HEX NAME",
        "unpinned: reason",
    )
)
# Whoever reads it knows what to write there, and nobody else does.
PLACEHOLDERS = frozenset(
    (
        "CHAIN.pem",
        "DIR",
        "FOLDER/door.pem",
        "KEY",
        "KEY.pem",
        "KEY.pub",
        "MODEL",
        "NAME",
        "NAME:TAG",
        "PASSWORD",
        "TARGET",
    )
)
FILLED_IN = "FILLED-IN"
PROSE = frozenset(("weights/markers.py",))  # it writes a file that explains, and no hint


@dataclass(frozen=True, kw_only=True, slots=True)
class Quoted:
    """What stands between two backticks, and where."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where} {self.text}"


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The strings of a module with their lines, each whole; not its docstrings."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside.update(map(id, node.values))
        elif isinstance(node, ast.Expr):
            inside.add(id(node.value))
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(part, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def part(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else FILLED_IN


def quoted_in(path: Path) -> Iterator[Quoted]:
    name = path.relative_to(PACKAGE).as_posix()
    for line, text in strings(ast.parse(path.read_text("utf-8"))):
        for found in re.findall("`([^`]+)`", text):
            yield Quoted(where=f"{name}:{line}", text=re.sub(r"\{\w+\}", FILLED_IN, found))


def commands() -> list[Quoted]:
    """Every command in a text of the package that is not all filled in."""
    paths = sorted(
        path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).as_posix() not in PROSE
    )
    found = [quoted for path in paths for quoted in quoted_in(path)]
    return [quoted for quoted in found if quoted.text not in WORDS and not quoted.text.startswith(FILLED_IN)]


def wrong_with(words: list[str]) -> str:
    """What is wrong with a command; empty where nothing is."""
    if words[0] == "sudo":
        return wrong_with(words[1:])
    if words[0] == "paddock":
        return wrong_with_ours(paddock, words[1:])
    if words[0] not in KNOWN:
        return f"no known program {words[0]}"
    if words[0] == "docker" and words[1] not in DOCKER:
        return f"no known command docker {words[1]}"
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    if words[0] == "make" and not re.search(rf"^{words[1]}:", makefile, re.MULTILINE):
        return f"no target {words[1]} in the Makefile"
    return ""


def wrong_with_ours(command: click.Command, words: list[str]) -> str:
    """The same for a command of paddock's, by its own declaration of options and arguments."""
    if isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), words[0]) if words else None
        return wrong_with_ours(inner, words[1:]) if inner else f"no command in {command.name}: {words[:1]}"
    if words == ["--help"]:
        return ""
    context = click.Context(command)
    try:
        values, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as refused:
        return refused.message
    wrong = [problem for one in command.params if (problem := wrong_value(one, values.get(one.name or "")))]
    return "; ".join([*wrong, *rest])


def wrong_value(parameter: click.Parameter, value: object) -> str:
    given = isinstance(value, str | tuple | list) and bool(value)
    if parameter.required and not given:
        return f"no {parameter.name}"
    if isinstance(parameter.type, click.Choice) and given and value != FILLED_IN:
        return "" if value in parameter.type.choices else f"{parameter.name}: no such choice"
    return ""


@pytest.mark.parametrize("quoted", commands(), ids=str)
def test_it_works_when_pasted(quoted: Quoted) -> None:
    each = [shlex.split(command) for command in quoted.text.split("&&")]
    assert [wrong for words in each if (wrong := wrong_with(words))] == []
    left = {word for words in each for word in words if re.fullmatch(r"[A-Z][A-Z.:a-z]*", word)}
    assert left - PLACEHOLDERS - {FILLED_IN} == set()


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("paddock verify", "no directories"),
        ("paddock keygen", "no key"),
        ("paddock models", "no command in models"),
        ("paddock nothing", "no command in paddock"),
        ("paddock up cpu --nothing", "No such option"),
        ("paddock down cpu more", "more"),
        ("docker nothing", "no known command"),
        ("make nothing", "no target"),
        ("sudo nothing", "no known program"),
    ],
)
def test_what_would_not_work_is_found(command: str, wrong: str) -> None:
    assert wrong in wrong_with(shlex.split(command))


def test_most_hints_were_found() -> None:
    assert len(commands()) > 80
