"""Docker: connecting to the engine, and finding the compose and buildx commands.

Each refusal says what to install. The engine is reached as the `docker` command reaches it: DOCKER_HOST, else
the current context, else the local socket. Nothing here knows stacks; `paddock.stack.containers` does.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from paddock import process
from paddock.errors import EngineError, ProgramError, causes

if TYPE_CHECKING:
    import docker
else:

    class _LoadedOnFirstUse:
        """Docker's SDK, which takes a fifth of a second to import: only what asks the engine pays for it."""

        def __getattr__(self, name: str) -> object:
            return getattr(import_module("docker"), name)

    docker = _LoadedOnFirstUse()

__all__ = [
    "BUILDING_ENGINE",
    "MINIMUM_COMPOSE",
    "MINIMUM_ENGINE",
    "TIMEOUT",
    "Release",
    "address",
    "compose_argv",
    "connect",
    "docker",
    "has_image",
    "host",
    "is_local",
    "platform",
    "require_buildx",
]

# To run stacks: the seccomp profile of older ones breaks programs of current Debian (clone3).
MINIMUM_ENGINE = "20.10.10"
# To build images: BuildKit 0.11, the first that takes SOURCE_DATE_EPOCH.
BUILDING_ENGINE = "24.0.0"
MINIMUM_COMPOSE = "2.0.0"
TIMEOUT = 60  # seconds for one answer of the engine
_PROGRAM_TIMEOUT = 60.0  # seconds for a program that prints its version
_DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_INSTALL_HINT = "install Docker Engine (Debian: `make engine`, or the package docker.io), then try again"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Release:
    """The numbers in front of a version such as `26.1.5+dfsg1` or `v2.26.1-4`."""

    numbers: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Release | None:
        """None where the text does not start with a version."""
        found = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
        return cls(numbers=tuple(int(number) for number in found[1].split("."))) if found else None


def connect(*, timeout: float | None = TIMEOUT, minimum: str = MINIMUM_ENGINE) -> docker.DockerClient:
    """A client of an engine that answers and is not too old. Raises EngineError.

    `timeout` is for one answer in seconds; None for requests that take as long as an image is large.
    """
    try:
        _require_listener(address())
    except OSError as failure:
        raise _no_engine(failure) from failure
    try:
        client = docker.from_env(timeout=TIMEOUT, version="auto")
        version = str(client.version()["Version"])
        client.api.timeout = timeout  # type: ignore[assignment]  # requests knows None, too
    except (docker.errors.DockerException, OSError, KeyError) as failure:
        raise _no_engine(failure) from failure
    release, least = Release.of(version), Release.of(minimum)
    if release and least and release < least:
        client.close()
        raise EngineError(
            f"Docker Engine at {address()}: found version {version}, expected {minimum} or later",
            hint=f"update Docker Engine: stacks need {MINIMUM_ENGINE}, builds need {BUILDING_ENGINE}",
        )
    return client


def platform(client: docker.DockerClient) -> str:
    """Docker's os/arch of the machine that the engine runs on."""
    found = client.version()
    return f"{found['Os']}/{found['Arch']}"


def has_image(client: docker.DockerClient, reference: str) -> bool:
    """Whether the engine holds an image of that name. Raises EngineError where it refuses to look."""
    try:
        client.images.get(reference)
    except docker.errors.ImageNotFound:
        return False
    except docker.errors.APIError as failure:
        raise EngineError(
            f"Docker Engine: refused to look for {reference}: {failure.explanation}"
        ) from failure
    return True


def address() -> str:
    """Where the engine is looked for."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        return named
    try:
        return docker.ContextAPI.kwargs_from_context(environment=os.environ).get("base_url", _DEFAULT_ADDRESS)
    except (docker.errors.DockerException, OSError):
        return _DEFAULT_ADDRESS


def is_local() -> bool:
    """Whether the engine runs on this machine: its ports and bind mounts are this machine's."""
    return address().removeprefix("http+").startswith("unix:")


def host() -> str:
    """The name or address under which ports that containers publish can be reached from here."""
    return "127.0.0.1" if is_local() else urlsplit(address()).hostname or "127.0.0.1"


@cache
def compose_argv() -> tuple[str, ...]:
    """How Compose v2 is started: `docker compose` or the standalone `docker-compose`. Raises EngineError."""
    found = [(argv, version) for argv in _COMPOSE_COMMANDS if (version := _version_of(argv))]
    for argv, version in found:
        release, minimum = Release.of(version), Release.of(MINIMUM_COMPOSE)
        if release and minimum and release >= minimum:
            return argv
    have = ", ".join(f"`{process.command_line(argv)}` {version}" for argv, version in found) or "none"
    raise EngineError(
        f"Docker Compose: found {have}, expected version {MINIMUM_COMPOSE} or later",
        hint="install Compose v2 (Debian 12: `make engine`; elsewhere the package docker-compose-plugin)",
    )


@cache
def require_buildx() -> str:
    """The version of `docker buildx`. Raises EngineError when it is not there."""
    try:
        printed = process.capture(["docker", "buildx", "version"], timeout=_PROGRAM_TIMEOUT).stdout.split()
    except ProgramError as absent:
        raise EngineError(
            f"Docker Buildx: found none ({absent.last_line}), expected the docker plugin buildx",
            hint="install it (Debian: docker-buildx or `make engine`; elsewhere docker-buildx-plugin)",
        ) from absent
    return printed[1] if len(printed) > 1 else "unknown"


_COMPOSE_COMMANDS = (("docker", "compose"), ("docker-compose",))


def _version_of(argv: tuple[str, ...]) -> str:
    """What `argv version --short` prints; empty when there is no such command."""
    try:
        return process.capture([*argv, "version", "--short"], timeout=_PROGRAM_TIMEOUT).stdout.strip()
    except ProgramError:
        return ""


def _require_listener(where: str) -> None:
    """Raise OSError when nothing listens at a socket; the SDK says less, and leaves its own socket open."""
    if where.startswith("unix:"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect("/" + where.removeprefix("unix:").lstrip("/"))


def _no_engine(failure: BaseException) -> EngineError:
    where = f"Docker Engine at {address()}"
    kinds = {type(cause) for cause in causes(failure)}
    if PermissionError in kinds:
        return EngineError(
            f"{where}: permission denied for this user",
            hint="add yourself to the group docker (`sudo usermod -aG docker $USER`, then log in again), "
            "or use sudo",
        )
    if FileNotFoundError in kinds:
        if shutil.which("docker") is None and shutil.which("dockerd") is None:
            return EngineError(f"{where}: Docker is not installed", hint=_INSTALL_HINT)
        return EngineError(
            f"{where}: there is no engine; it is not started, or listens elsewhere",
            hint="start it (`sudo systemctl start docker`, or `make engine`), or set DOCKER_HOST",
        )
    if ConnectionRefusedError in kinds:
        return EngineError(
            f"{where}: the engine does not answer: connection refused",
            hint="start it (`sudo systemctl start docker`), or correct DOCKER_HOST",
        )
    reason = str(failure).removeprefix("Error while fetching server API version: ")
    return EngineError(
        f"{where}: no usable answer: {reason}", hint="`docker version` shows what docker itself says"
    )
