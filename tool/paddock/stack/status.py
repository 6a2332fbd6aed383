"""How the stacks on this engine are: each container's state, health, memory and versions, and whether it can
parse.

Reads only. What takes time (memory, package versions, asking the API) is asked of all containers at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import requests

from paddock.engine import docker
from paddock.matrix.fieldtypes import FrozenDict
from paddock.parse import readiness
from paddock.parse.readiness import Readiness
from paddock.stack import containers
from paddock.stack.configuration import Configuration
from paddock.stack.containers import Container

# What people ask for first when they report a fault; others are in the images' lock files.
PACKAGES = (
    "paddlex",
    "paddlepaddle",
    "vllm",
    "sglang",
    "fastdeploy-gpu",
    "vllm-ascend",
    "torch",
    "transformers",
)
_ASK_VERSIONS = (
    "import importlib.metadata as m, json, sys\n"
    "found = {}\n"
    "for name in sys.argv[1:]:\n"
    "    try: found[name] = m.version(name)\n"
    "    except m.PackageNotFoundError: pass\n"
    "print(json.dumps(found))"
)
_AT_ONCE = 16
ABSENT = "absent"
DONE = "done"  # it was to do its work once


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStatus:
    """One container. `memory` and `memory_limit` in bytes (None: unknown, or no limit), `uptime` in seconds."""

    service: str
    container: str
    state: str  # Docker's words, or absent, or done
    health: str
    health_message: str
    exit_code: int
    restarts: int
    oom_killed: bool
    uptime: float | None
    ports: tuple[str, ...]
    memory: int | None
    memory_limit: int | None
    image: str
    labels: Mapping[str, str]  # version, revision, target, backend, model, variant
    packages: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class StackStatus:
    """One stack. `reason` is empty when it is ready."""

    project: str
    folder: str
    url: str | None
    ready: bool
    reason: str
    model: str
    test_weights: bool
    notice: str
    services: tuple[ServiceStatus, ...]


def status_of_all(client: docker.DockerClient, *, project: str | None = None) -> tuple[StackStatus, ...]:
    """Every stack of paddock's on this engine, or only those with one project name."""
    present = [each for each in containers.ours(client) if project in (None, each.project)]
    stacks = [tuple(group) for _, group in groupby(present, key=lambda each: each.project)]
    return tuple(_status(client, stack, expected=()) for stack in stacks)


def status_of(client: docker.DockerClient, configuration: Configuration, *, folder: str) -> StackStatus:
    """One stack, whether or not it runs; services without a container are `absent`."""
    present = containers.of_project(client, configuration.project)
    expected = tuple(each.name for each in configuration.services if not each.once)
    if present:
        return _status(client, present, expected=expected)
    return StackStatus(
        project=configuration.project,
        folder=folder,
        url=None,
        ready=False,
        reason="it is not started",
        model="",
        test_weights=False,
        notice="",
        services=tuple(_absent(name) for name in expected),
    )


def _status(
    client: docker.DockerClient, present: Sequence[Container], *, expected: Sequence[str]
) -> StackStatus:
    url = containers.url_of(present)
    with ThreadPoolExecutor(_AT_ONCE, "status") as pool:
        # a paused API would keep us waiting, and what it is shows without asking
        answers = all(each.state == "running" for each in present if each.published)
        asked = pool.submit(readiness.ask, url) if url is not None and answers else None
        memory = [pool.submit(_memory, client, each) for each in present]
        packages = [pool.submit(_packages, client, each) for each in present]
        services = [
            _service(each, used.result(), versions.result())
            for each, used, versions in zip(present, memory, packages, strict=True)
        ]
        answer = asked.result() if asked is not None else None
    services += [_absent(name) for name in expected if name not in {each.service for each in present}]
    reason = _reason(services, answer)
    return StackStatus(
        project=present[0].project,
        folder=present[0].folder,
        url=url,
        ready=not reason,
        reason=reason,
        model=answer.model if answer is not None else "",
        test_weights=answer is not None and answer.test_weights,
        notice=answer.notice if answer is not None else "",
        services=tuple(services),
    )


def _reason(services: Sequence[ServiceStatus], answer: Readiness | None) -> str:
    """Why a stack cannot parse now; empty when it can. A container that does not run tells more than the API."""
    for each in services:
        if each.state not in ("running", DONE):
            return f"{each.service} is {each.state}" + (" (out of memory)" if each.oom_killed else "")
    if answer is not None:
        return "" if answer.ready else answer.reason or "the pipeline API is not ready"
    waiting = [each.service for each in services if each.health not in ("healthy", "")]
    return f"{', '.join(waiting)}: not healthy" if waiting else ""


def _service(each: Container, memory: int | None, packages: Mapping[str, str]) -> ServiceStatus:
    running = each.state == "running"
    return ServiceStatus(
        service=each.service,
        container=each.name,
        state=DONE if each.done else each.state,
        health=each.health if running else "",
        health_message=each.health_message if running and each.health == "unhealthy" else "",
        exit_code=each.exit_code,
        restarts=each.restarts,
        oom_killed=each.oom_killed,
        uptime=(datetime.now(UTC) - each.started).total_seconds() if running and each.started else None,
        ports=tuple(f"{port.host or '*'}:{port.port}" for port in each.published),
        memory=memory,
        memory_limit=each.memory_limit or None,
        image=each.image,
        labels=labels_of(each),
        packages=packages,
    )


def _absent(name: str) -> ServiceStatus:
    return ServiceStatus(
        service=name,
        container="",
        state=ABSENT,
        health="",
        health_message="",
        exit_code=0,
        restarts=0,
        oom_killed=False,
        uptime=None,
        ports=(),
        memory=None,
        memory_limit=None,
        image="",
        labels=FrozenDict(),
        packages=FrozenDict(),
    )


def labels_of(each: Container) -> Mapping[str, str]:
    """What the image says of itself, under short names; empty where it says nothing."""
    named = {
        "version": "org.opencontainers.image.version",
        "revision": "org.opencontainers.image.revision",
        "target": "io.paddock.target",
        "backend": "io.paddock.backend",
        "model": "io.paddock.model",
        "variant": "io.paddock.variant",
    }
    return FrozenDict({short: each.labels.get(label, "") for short, label in named.items()})


def _memory(client: docker.DockerClient, each: Container) -> int | None:
    """Bytes in use without the page cache that can be given back, as `docker stats` counts; None when not
    running.
    """
    if each.state != "running":
        return None
    try:
        found: dict[str, Any] = client.api.stats(each.id, stream=False, one_shot=True)
    except (docker.errors.DockerException, requests.RequestException):
        return None  # it ended just now
    return used_memory(found)


def used_memory(stats: Mapping[str, Any]) -> int | None:
    """The memory in use from the engine's statistics: cgroup 2 says inactive_file, cgroup 1
    total_inactive_file.
    """
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    detail = memory.get("stats") or {}
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return max(int(memory["usage"]) - int(cache), 0)


def _packages(client: docker.DockerClient, each: Container) -> Mapping[str, str]:
    """Versions of the packages that matter, asked of the container's own Python; empty where it has none."""
    if each.state != "running":
        return FrozenDict()
    try:
        created = client.api.exec_create(each.id, ["python", "-c", _ASK_VERSIONS, *PACKAGES], stderr=False)
        printed: bytes = client.api.exec_start(created["Id"])
        if client.api.exec_inspect(created["Id"])["ExitCode"] != 0:
            return FrozenDict()
        return FrozenDict({str(name): str(version) for name, version in json.loads(printed).items()})
    except (docker.errors.DockerException, requests.RequestException, ValueError):
        return FrozenDict()
