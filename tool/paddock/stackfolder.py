"""The folder of one stack: finding it, and what its compose.yaml comes to once `.env` is filled in.

Compose itself resolves the file (`docker compose config`), so overrides and settings count exactly as they will at the
start. A folder alone is enough: nothing here needs templates, except to make the folder of a stack that has none yet.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import dotenv

from paddock import engine, paths, process
from paddock.errors import ConfigurationError, UsageError
from paddock.matrix import FrozenDict, Stack, Variant
from paddock.registry import Registry, load
from paddock.render import Renderer, include
from paddock.report import Reporter

COMPOSE_FILE = "compose.yaml"
FETCH_FILE = "fetch.yaml"  # beside it: what COMPOSE_FILE in .env may add
IMAGES_FOLDER = "images"  # beside it: what it extends
NO_RESTART = "no"  # how a service says that it ends by itself
_CONFIG_TIMEOUT = 60.0  # seconds
IMAGES = "IMAGES"  # the variable that says whose images a stack runs: own or upstream
_UPSTREAM_LABEL = ("io.paddock.images", "upstream")
# What Compose says when images/upstream.yaml refuses, and when IMAGES names no file of images/.
_NO_UPSTREAM = re.compile(r"NO_UPSTREAM_IMAGES is missing a value: (.+)")
_NO_SUCH_IMAGES = re.compile(r"open \S*/images/(\S+)\.yaml: no such file")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """A host path that a container sees."""

    source: Path
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A port of the host that leads into a container. `host` is empty where it listens on every address."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cards:
    """The NVIDIA cards that a container gets: those of these numbers or UUIDs, else that many."""

    named: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class HostNeeds:
    """What a stack needs of the host's cards and their driver: `x-host` of its compose.yaml."""

    accelerator: str
    driver: str  # the least version
    driver_reason: str
    compute_capability: str = ""  # version specifier
    card_memory: str = ""  # GB that each card must have
    chip: str = ""  # how the name of an Ascend chip begins


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One container of a stack as it will be started. `memory` in bytes, `start_period` in seconds."""

    name: str
    image: str
    pull_policy: str  # Compose's words; empty where the file says nothing
    published: tuple[Published, ...]
    binds: tuple[Bind, ...]
    devices: tuple[Path, ...] = ()  # device nodes of the host
    cards: Cards = field(default_factory=Cards)
    environment: Mapping[str, str]
    memory: int | None
    start_period: float
    upstream: bool = False  # runs an image of upstream's
    once: bool = False  # it does its work and ends; the others may wait for it


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """What a stack's compose.yaml comes to."""

    project: str
    services: tuple[Service, ...]
    host: HostNeeds | None = None  # None: any host


@dataclass(frozen=True, kw_only=True, slots=True)
class StackFolder:
    """A folder with a compose.yaml, and how Compose is to be called for it.

    `project` None: the name that the file gives itself. `environment` goes before `.env`. `called` is how messages
    name the stack, `options` what `paddock build` is to be given for it; empty where only the folder is known.
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
        """The Compose command for this stack; it is to run in `path`, where Compose finds compose.yaml and .env."""
        named = ["--project-name", self.project] if self.project else []
        # COMPOSE_FILE of somebody's shell would lead to another stack
        files = [f"--file={name}" for name in self._files()] if os.environ.get("COMPOSE_FILE") else []
        return [*engine.compose_argv(), *files, *named, *arguments]

    def command_line(self, *arguments: str) -> str:
        """The same as one could paste it into a shell."""
        settings = "".join(f"{name}={value} " for name, value in self.environment.items())
        where = process.command_line(["cd", str(_short(self.path))])
        return f"({where} && {settings}{process.command_line(self.argv(*arguments))})"

    def read(self) -> Configuration:
        """What the stack comes to. Raises ConfigurationError with Compose's own reason when the file is not valid."""
        argv = self.argv("config", "--format", "json")
        done = process.capture(argv, cwd=self.path, environment=self.environment, check=False, timeout=_CONFIG_TIMEOUT)
        if done.status != 0:
            reason = " ".join(done.stderr.split()) or f"exit status {done.status}"
            self._refuse_images(reason)
            raise ConfigurationError(
                f"{_short(self.path / COMPOSE_FILE)}: Compose refuses it: {reason}",
                hint=f"correct compose.yaml or .env; {self.command_line('config', '--quiet')} checks them",
            )
        return _configuration(json.loads(done.stdout))

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
                hint=f"correct {IMAGES} in {_short(self.path / '.env')}, or in this shell",
            )

    def _files(self) -> list[str]:
        chosen = dotenv.dotenv_values(self.path / ".env").get("COMPOSE_FILE")
        if chosen:
            return chosen.split(os.pathsep)
        names = (COMPOSE_FILE, "compose.override.yaml", "compose.override.yml")
        return [name for name in names if (self.path / name).is_file()]


def locate(
    target_or_dir: str,
    *,
    backend: str | None = None,
    model: str | None = None,
    offline: bool = False,
    project: str | None = None,
    environment: Mapping[str, str] | None = None,
    report: Reporter | None = None,
) -> StackFolder:
    """The folder of a stack: a path to one, or `<workspace>/compose/<stack>` of a target.

    With a `report`, what is missing in the folder of a target's stack is rendered; without, that is a UsageError.
    Raises UsageError and ConfigurationError as the registry does.
    """
    _refuse_bad_project(project)
    given = Path(target_or_dir).expanduser()
    if (given / COMPOSE_FILE).is_file():
        if backend or model or offline:
            raise UsageError(f"{target_or_dir}: a folder's stack is fixed, found --backend, --model or --offline")
        path, called, options = given.resolve(), target_or_dir, ""
    elif os.sep in target_or_dir or target_or_dir in (".", ".."):
        raise UsageError(
            f"{target_or_dir}: found no {COMPOSE_FILE} there", hint="name a target, or the folder of a stack"
        )
    else:
        data = load(paths.templates())
        stack = data.stack(
            target=target_or_dir, backend=backend, model=model, variant=Variant.OFFLINE if offline else Variant.ONLINE
        )
        path, called, options = _of_stack(stack, data, report), stack.name, _as_options(stack)
    return StackFolder(
        path=path, called=called, options=options, project=project, environment=FrozenDict(environment or {})
    )


def _refuse_bad_project(project: str | None) -> None:
    if project is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        raise UsageError(
            f'--project: found "{project}", expected lowercase letters, digits, - and _, not starting with - or _'
        )


def _as_options(stack: Stack) -> str:
    """The stack as one names it to `paddock up` and `paddock build`."""
    words = [stack.target.name]
    if stack.backend.name != stack.target.default_backend:
        words += ["--backend", stack.backend.name]
    if stack.model.name != stack.target.default_model:
        words += ["--model", stack.model.name]
    if stack.variant is Variant.OFFLINE:
        words.append("--offline")
    return " ".join(words)


def _of_stack(stack: Stack, data: Registry, report: Reporter | None) -> Path:
    workspace = paths.workspace()
    path = workspace / "compose" / stack.name
    if report is None:
        if not (path / COMPOSE_FILE).is_file():
            raise UsageError(f"{_short(path)}: is not there, so this stack was never started from here")
        return path
    if not all((workspace / name).is_file() for name in Renderer(paths.templates()).stack(stack)):
        report.say(f"{_short(path)}: is not whole; rendering what is missing")
        include(stack, data, paths.templates(), workspace)
    return path


def _configuration(found: Mapping[str, Any]) -> Configuration:
    services = found.get("services") or {}
    return Configuration(
        project=str(found["name"]),
        services=tuple(_service(name, each) for name, each in services.items()),
        host=_host(found.get("x-host")),
    )


def _host(found: Mapping[str, Any] | None) -> HostNeeds | None:
    if not found:
        return None
    names = (each.name for each in fields(HostNeeds))
    return HostNeeds(**{name: str(found.get(name) or "") for name in names})


def _service(name: str, found: Mapping[str, Any]) -> Service:
    health = found.get("healthcheck") or {}
    memory = found.get("mem_limit")
    return Service(
        name=name,
        image=str(found.get("image", "")),
        pull_policy=str(found.get("pull_policy") or ""),
        published=tuple(
            Published(host=str(port.get("host_ip") or ""), port=int(port["published"]))
            for port in found.get("ports") or ()
            if str(port.get("published") or "").isdigit()
        ),
        binds=tuple(
            Bind(source=Path(volume["source"]), target=str(volume["target"]))
            for volume in found.get("volumes") or ()
            if volume.get("type") == "bind"
        ),
        devices=tuple(Path(device["source"]) for device in found.get("devices") or ()),
        cards=_cards(found),
        environment=FrozenDict({key: str(value or "") for key, value in (found.get("environment") or {}).items()}),
        memory=int(memory) if memory else None,
        start_period=seconds(str(health.get("start_period") or "")),
        upstream=_UPSTREAM_LABEL in (found.get("labels") or {}).items(),
        once=found.get("restart") == NO_RESTART,
    )


def _cards(found: Mapping[str, Any]) -> Cards:
    reserved = ((found.get("deploy") or {}).get("resources") or {}).get("reservations") or {}
    nvidia = [each for each in reserved.get("devices") or () if each.get("driver") == "nvidia"]
    return Cards(
        named=tuple(str(card) for each in nvidia for card in each.get("device_ids") or ()),
        count=max((int(each.get("count") or 0) for each in nvidia), default=0),
    )


def seconds(duration: str) -> float:
    """Seconds of a duration in Compose's notation, such as `10m0s`; 0 for an empty one."""
    return sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in _DURATION.findall(duration))


def _short(path: Path) -> Path:
    """Relative to the current folder where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
