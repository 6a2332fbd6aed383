"""The folder of one stack: how Compose is called for it, and what its compose.yaml resolves to.

Compose itself resolves the file (`docker compose config`), so overrides and settings count exactly as they
will at the start. A folder is enough: nothing here needs templates or data.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paddock import engine, paths, process
from paddock.errors import ConfigurationError, UsageError, quoted
from paddock.matrix.fieldtypes import FrozenDict
from paddock.stack import dotenv
from paddock.stack.configuration import Configuration, read_configuration, resolved

COMPOSE_FILE = "compose.yaml"
ENV_FILE = ".env"
FETCH_FILE = "fetch.yaml"  # beside it: an optional part, switched on by COMPOSE_FILE in .env
SITE_FILE = "site.yaml"  # the same: the door and several workers
OVERRIDE_FILES = ("compose.override.yaml", "compose.override.yml")  # a user's own; Compose reads them
IMAGES_FOLDER = "images"  # beside it: the files that compose.yaml extends
PROGRAMS_VARIABLE = "UPSTREAM_PROGRAMS"  # where the programs are that upstream's images are started with
IMAGES = "IMAGES"  # the variable that says whose images a stack runs: own or upstream

_CHOICE = "COMPOSE_FILE"  # Compose's own variable for the names of its files
_CONFIG_TIMEOUT = 60.0  # seconds

# What Compose says when images/upstream.yaml refuses, and when IMAGES names no file of images/.
_NO_UPSTREAM = re.compile(r"NO_UPSTREAM_IMAGES is missing a value: (.+)")
_NO_SUCH_IMAGES = re.compile(r"open \S*/images/(\S+)\.yaml: no such file")


@dataclass(frozen=True, kw_only=True, slots=True)
class StackFolder:
    """A folder with a compose.yaml, and how Compose is to be called for it.

    `name` stands in messages. `options` are the target and options that `paddock up` and `paddock build` take
    for this stack, ready to paste; empty where only the folder is known. `project` None is the name that the
    file gives itself. `environment` takes precedence over `.env`.
    """

    path: Path
    name: str
    options: str = ""
    project: str | None = None
    environment: Mapping[str, str] = field(default_factory=FrozenDict)

    def argv(self, *arguments: str) -> list[str]:
        """The Compose command for this stack, to run in `path`: there it finds compose.yaml and .env."""
        project = ["--project-name", self.project] if self.project else []
        # COMPOSE_FILE in the user's shell would lead to another stack
        elsewhere = os.environ.get("COMPOSE_FILE") and _CHOICE not in self.environment
        files = [f"--file={name}" for name in self._files()] if elsewhere else []
        return [*engine.compose_argv(), *files, *project, *arguments]

    def command_line(self, *arguments: str) -> str:
        """The same command, ready to paste into a shell."""
        settings = "".join(f"{name}={quoted(value)} " for name, value in self.environment.items())
        cd = process.command_line(["cd", str(short(self.path))])
        return f"({cd} && {settings}{process.command_line(self.argv(*arguments))})"

    def paddock(self, command: str, *arguments: str) -> str:
        """A command of paddock's for this stack, ready to paste into a shell.

        One that only reads and writes its folder (`config`) takes no name of a project.
        """
        stack = self.options or quoted(short(self.path))
        words = ["paddock", command, stack, *map(quoted, arguments)]
        if self.project and not command.startswith("config"):
            words += ["--project", self.project]
        return " ".join(words)

    def with_environment(self, environment: Mapping[str, str]) -> StackFolder:
        """The same stack with these variables, which take precedence over `.env`."""
        return replace(self, environment=FrozenDict({**self.environment, **environment}))

    def read(self) -> Configuration:
        """What the stack resolves to. Raises ConfigurationError with Compose's reason where it is invalid."""
        return read_configuration(self.document())

    def document(self) -> Mapping[str, Any]:
        """What Compose makes of the stack. Raises ConfigurationError as `read` does."""
        argv = self.argv("config", "--format", "json")
        done = process.capture(
            argv, cwd=self.path, environment=self.environment, check=False, timeout=_CONFIG_TIMEOUT
        )
        if done.status != 0:
            reason = " ".join(done.stderr.split()) or f"exit status {done.status}"
            raise self._wrong_images(reason) or ConfigurationError(
                f"{short(self.path / COMPOSE_FILE)}: Compose refuses it: {reason}",
                hint=f"correct compose.yaml or .env; `{self.command_line('config', '--quiet')}` checks them",
            )
        document: Mapping[str, Any] = resolved(json.loads(done.stdout))
        return document

    def _wrong_images(self, reason: str) -> ConfigurationError | None:
        """The error in plain words where the value of IMAGES is what Compose refuses."""
        if refused := _NO_UPSTREAM.search(reason):
            build = f" (`paddock build {self.options}`)" if self.options else ""
            return ConfigurationError(
                f"{self.name}: {IMAGES}=upstream: {refused[1]}",
                hint=f"leave {IMAGES} at own and build the images{build}",
            )
        if refused := _NO_SUCH_IMAGES.search(reason):
            return ConfigurationError(
                f'{self.name}: {IMAGES}: found "{refused[1]}", expected own or upstream',
                hint=f"correct {IMAGES} in {short(self.path / '.env')} or in this shell",
            )
        return None

    def with_site(self) -> StackFolder:
        """The same stack with site.yaml, whatever its `.env` says. Raises UsageError where it has none."""
        if not (self.path / SITE_FILE).is_file():
            raise UsageError(
                f"{self.name}: found no {SITE_FILE} in {short(self.path)}, expected what a site adds to it",
                hint="`paddock render` writes it; a stack without a pipeline API has none",
            )
        files = self._files()
        return self._with(files if SITE_FILE in files else [*files, SITE_FILE])

    def without_site(self) -> StackFolder:
        """The same stack without site.yaml, whatever its `.env` says."""
        return self._with([name for name in self._files() if name != SITE_FILE])

    def _with(self, files: Sequence[str]) -> StackFolder:
        return replace(self, environment=FrozenDict({**self.environment, _CHOICE: os.pathsep.join(files)}))

    def settings(self) -> Mapping[str, str]:
        """What `.env` sets, as Compose reads it. Raises DataError where Compose refuses it."""
        return dotenv.values_in(self.path / ENV_FILE, {**os.environ, **self.environment})

    def setting(self, name: str, default: str) -> str:
        """A setting as Compose would read it: from the environment, else from `.env`, else the default."""
        return {**self.settings(), **os.environ, **self.environment}.get(name) or default

    def _files(self) -> list[str]:
        chosen = self.environment.get(_CHOICE) or self.settings().get(_CHOICE)
        if chosen:
            return chosen.split(os.pathsep)
        names = (COMPOSE_FILE, *OVERRIDE_FILES)
        return [name for name in names if (self.path / name).is_file()]


def open_folder(
    target_or_dir: str, *, project: str | None = None, environment: Mapping[str, str] | None = None
) -> StackFolder | None:
    """The stack in a folder with a compose.yaml; None where the argument can only be the name of a target.

    Raises UsageError for a path without a compose.yaml, and for a project name that Compose would refuse.
    """
    if project is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        raise UsageError(
            f'--project: found "{project}", expected lowercase letters, digits, - and _, '
            "starting with a letter or digit"
        )
    path = paths.expanded(target_or_dir)
    if (path / COMPOSE_FILE).is_file():
        settings = FrozenDict(environment or {})
        return StackFolder(path=path.resolve(), name=target_or_dir, project=project, environment=settings)
    if os.sep in target_or_dir or target_or_dir in (".", ".."):
        raise UsageError(
            f"{target_or_dir}: found no {COMPOSE_FILE} there", hint="name a target, or the folder of a stack"
        )
    return None


def short(path: Path) -> Path:
    """Relative to the current folder where the path lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
