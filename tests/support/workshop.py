"""A workspace in which tests run the real `paddock`, and a stack that was started from it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import programs
from compose_projects import containers_of, inspected
from paddock import __version__
from programs import PADDOCK, Finished

# Variables of a developer's shell that would decide for a test.
DECIDING = ("API_PORT", "PADDOCK_URL", "RUN_AS")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """A workspace with rendered stacks and weights."""

    root: Path
    models: Path
    prefix: str  # of its images
    version: str = __version__

    def environment(self, **more: str) -> dict[str, str]:
        """The whole environment of `paddock` here."""
        inherited = {name: value for name, value in os.environ.items() if name not in DECIDING}
        own = {
            "PADDOCK_ROOT": str(self.root),
            "MODELS_DIR": str(self.models),
            "IMAGE_PREFIX": self.prefix,
        }
        return {**inherited, **own, **more}

    def image(self, name: str) -> str:
        """The reference of one of its images, such as `cpu-api`."""
        return f"{self.prefix}{name}:{self.version}"

    def paddock(self, *arguments: str | Path, **more: str) -> Finished:
        """Run `paddock`, whatever its exit status; `more` is added to the environment."""
        return programs.run(*PADDOCK, *arguments, environment=self.environment(**more), inherit=False)

    def start(self, *arguments: str | Path, **more: str) -> subprocess.Popen[str]:
        """Start `paddock` and leave it running."""
        return programs.start(*PADDOCK, *arguments, environment=self.environment(**more), inherit=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningStack:
    """A stack as `paddock up` left it."""

    project: str
    port: int
    shop: Workshop
    up: Finished

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def container(self, service: str) -> str:
        """The id that the service's container has now."""
        return containers_of(self.project, service)[0]

    def inspect(self, service: str) -> dict[str, Any]:
        return inspected(self.container(service))

    def health(self, service: str) -> str:
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def parse(self, *files: Path, to: Path) -> Finished:
        """Have it parse documents, replacing what an earlier parse made."""
        return self.shop.paddock("parse", *files, "--output", to, "--url", self.url, "--force")


def open_to_other_users(folder: Path) -> None:
    """Let the users of containers into a folder of pytest's, which are private."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)


def set_variables(file: Path, **values: str) -> None:
    """Change variables of an environment file."""
    kept = [line for line in file.read_text().splitlines() if line.partition("=")[0] not in values]
    assigned = [f"{name}={value}" for name, value in values.items()]
    file.write_text("\n".join([*kept, *assigned]) + "\n")
