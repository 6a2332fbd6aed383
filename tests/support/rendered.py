"""All that the templates give, read and rendered once for the tests of generated files."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from paddock import paths
from paddock.matrix import upstream
from paddock.matrix.load import load_registry
from paddock.matrix.records import Stack
from paddock.render.renderer import Files, Renderer

TEMPLATES = paths.templates()
REGISTRY = load_registry(TEMPLATES)
RENDERER = Renderer(TEMPLATES)
STACKS = {stack.name: stack for stack in REGISTRY.all_stacks()}
COMMITTED = {stack.name: stack for stack in REGISTRY.stacks()}
ON_UPSTREAM = {name: stack for name, stack in STACKS.items() if not upstream.reason_against(stack)}
UNHURRIED = 120.0  # seconds for Compose on a busy machine; it opens no connection

every_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


@functools.cache
def everything() -> Files:
    """Every file, with the stacks of all models."""
    return RENDERER.all(REGISTRY, also=STACKS.values())


@functools.cache
def stack_files(stack: Stack) -> Files:
    """The files of one stack, and those in compose/ that it shares."""
    return RENDERER.stack(stack)


RESET = "!reset"  # how Compose is told to take away what another file has


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Compose reads it."""


_Loader.add_constructor(RESET, lambda _loader, _node: RESET)


@functools.cache
def parsed(text: str) -> Any:
    """A YAML document, which is not to be changed: the same text is parsed once."""
    return yaml.load(text, Loader=_Loader)


def document(stack: Stack, name: str = "compose.yaml") -> Any:
    """A YAML file of a stack's folder."""
    return parsed(stack_files(stack)[PurePosixPath("compose") / stack.name / name])


@functools.cache
def _has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False, timeout=UNHURRIED
    )
    return asked.returncode == 0


needs_compose = pytest.mark.skipif(
    not _has_compose(), reason="there is no docker compose here (it needs no engine for this)"
)
