"""The folder of one stack: finding it, and what its compose.yaml comes to once `.env` is filled in.

Compose itself resolves the file (`docker compose config`), so overrides and settings count exactly as they
will at the start. A folder alone is enough: nothing here needs templates, except to make the folder of a
stack that has none yet.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dotenv

from paddock import engine, process
from paddock.errors import ConfigurationError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.stack.configuration import Configuration, configuration

COMPOSE_FILE = "compose.yaml"
FETCH_FILE = "fetch.yaml"  # beside it: what COMPOSE_FILE in .env may add
IMAGES_FOLDER = "images"  # beside it: what it extends

_CONFIG_TIMEOUT = 60.0  # seconds
IMAGES = "IMAGES"  # the variable that says whose images a stack runs: own or upstream

# What Compose says when images/upstream.yaml refuses, and when IMAGES names no file of images/.
_NO_UPSTREAM = re.compile(r"NO_UPSTREAM_IMAGES is missing a value: (.+)")
_NO_SUCH_IMAGES = re.compile(r"open \S*/images/(\S+)\.yaml: no such file")


@dataclass(frozen=True, kw_only=True, slots=True)
class StackFolder:
    """A folder with a compose.yaml, and how Compose is to be called for it.

    `project` None: the name that the file gives itself. `environment` goes before `.env`. `called` is how
    messages name the stack, `options` what `paddock build` is to be given for it; empty where only the folder
    is known.
    """

    path: Path
    called: str
    options: str = ""
    project: str | None = None
    environment: Mapping[str, str] = field(default_factory=FrozenDict)

    @property
    def named(self) -> str:
        """What `paddock up` and its like are to be given for this stack, as one could paste it into a shell."""
        return self.options or process.command_line([self.called])

    def argv(self, *arguments: str) -> list[str]:
        """The Compose command for this stack; it is to run in `path`, where Compose finds compose.yaml and
        .env.
        """
        named = ["--project-name", self.project] if self.project else []
        # COMPOSE_FILE of somebody's shell would lead to another stack
        files = [f"--file={name}" for name in self._files()] if os.environ.get("COMPOSE_FILE") else []
        return [*engine.compose_argv(), *files, *named, *arguments]

    def command_line(self, *arguments: str) -> str:
        """The same as one could paste it into a shell."""
        settings = "".join(f"{name}={value} " for name, value in self.environment.items())
        where = process.command_line(["cd", str(short(self.path))])
        return f"({where} && {settings}{process.command_line(self.argv(*arguments))})"

    def read(self) -> Configuration:
        """What the stack comes to. Raises ConfigurationError with Compose's own reason when the file is not
        valid.
        """
        argv = self.argv("config", "--format", "json")
        done = process.capture(
            argv, cwd=self.path, environment=self.environment, check=False, timeout=_CONFIG_TIMEOUT
        )
        if done.status != 0:
            reason = " ".join(done.stderr.split()) or f"exit status {done.status}"
            self._refuse_images(reason)
            raise ConfigurationError(
                f"{short(self.path / COMPOSE_FILE)}: Compose refuses it: {reason}",
                hint=f"correct compose.yaml or .env; {self.command_line('config', '--quiet')} checks them",
            )
        return configuration(json.loads(done.stdout))

    def _refuse_images(self, reason: str) -> None:
        """Say it plainly where IMAGES is what Compose stumbled over."""
        if found := _NO_UPSTREAM.search(reason):
            build = f": paddock build {self.options}" if self.options else ""
            raise ConfigurationError(
                f"{self.called}: {IMAGES}=upstream: {found[1]}",
                hint=f"leave {IMAGES} at own and build the images{build}",
            )
        if found := _NO_SUCH_IMAGES.search(reason):
            raise ConfigurationError(
                f'{self.called}: {IMAGES}: found "{found[1]}", expected own or upstream',
                hint=f"correct {IMAGES} in {short(self.path / '.env')}, or in this shell",
            )

    def _files(self) -> list[str]:
        chosen = dotenv.dotenv_values(self.path / ".env").get("COMPOSE_FILE")
        if chosen:
            return chosen.split(os.pathsep)
        names = (COMPOSE_FILE, "compose.override.yaml", "compose.override.yml")
        return [name for name in names if (self.path / name).is_file()]


def short(path: Path) -> Path:
    """Relative to the current folder where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
