"""The state of the stacks on this engine: of each container, and whether the stack can parse.

Reads only. What takes time (memory, package versions, asking the API) is asked of all containers at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from paddock.engine import docker
from paddock.errors import EngineError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.parse import readiness
from paddock.parse.readiness import Readiness
from paddock.stack import containers, entrance
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
_WORKERS = "/var/lib/workers"  # the folder that the workers of a site have in common
ABSENT = "absent"
DONE = "done"  # it was to run once, and has ended well


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStatus:
    """One container. Memory in bytes (None: unknown, or no limit), `uptime` in seconds."""

    service: str
    container: str
    state: str  # Docker's words, or absent, or done
    health: str
    health_message: str
    exit_code: int
    restarts: int
    recyclings: int  # restarts among them that a worker of a site asked for itself
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
    """Every stack of paddock's on this engine, or only the one with this project name."""
    present = [container for container in containers.ours(client) if project in (None, container.project)]
    stacks = [tuple(group) for _, group in groupby(present, key=lambda container: container.project)]
    return tuple(_status(client, stack, expected=()) for stack in stacks)


def status_of(client: docker.DockerClient, configuration: Configuration, *, folder: str) -> StackStatus:
    """One stack, whether or not it runs; services without a container are `absent`."""
    present = containers.of_project(client, configuration.project)
    expected = tuple(service.name for service in configuration.services if not service.once)
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
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - heavy

    url = entrance.url_of(client, present)
    # a paused API would keep us waiting, and that it is paused shows without asking
    answers = all(container.state == "running" for container in present if container.published)
    with ThreadPoolExecutor(_AT_ONCE, "status") as pool:
        asked = pool.submit(readiness.ask, url) if url is not None and answers else None
        memory = [pool.submit(_memory, client, container) for container in present]
        recycled = [pool.submit(_recyclings, client, container) for container in present]
        packages = [pool.submit(_packages, client, container) for container in present]
        killed = [pool.submit(containers.killed_for_memory, client, container) for container in present]
        restarted = pool.submit(containers.ran_out_of_memory, client, present[0].project)
        services = [
            _service(
                replace(
                    container,
                    oom_killed=container.oom_killed
                    or bool(kills.result())
                    or container.id in restarted.result(),
                ),
                used.result(),
                times.result(),
                versions.result(),
            )
            for container, used, times, versions, kills in zip(
                present, memory, recycled, packages, killed, strict=True
            )
        ]
        answer = asked.result() if asked is not None else None
    have_container = {container.service for container in present}
    services += [_absent(name) for name in expected if name not in have_container]
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
    """Why a stack cannot parse; empty when it can. A container that does not run says more than the API.

    Of several workers one may be down: the others do its work.
    """
    up = {service.service for service in services if service.state in ("running", DONE)}
    for service in services:
        if service.service not in up:
            memory = " (out of memory)" if service.oom_killed else ""
            return f"{service.service} is {service.state}{memory}"
    if answer is not None:
        return "" if answer.ready else answer.reason or "the pipeline API is not ready"
    waiting = [service.service for service in services if service.health not in ("healthy", "")]
    return f"{', '.join(waiting)}: not healthy" if waiting else ""


def _service(
    container: Container, memory: int | None, recyclings: int, packages: Mapping[str, str]
) -> ServiceStatus:
    running = container.state == "running"
    return ServiceStatus(
        service=container.service,
        container=container.name,
        state=DONE if container.done else container.state,
        health=container.health if running else "",
        health_message=container.health_message if running and container.health == "unhealthy" else "",
        exit_code=container.exit_code,
        restarts=container.restarts,
        recyclings=recyclings,
        oom_killed=container.oom_killed,
        uptime=(datetime.now(UTC) - container.started).total_seconds()
        if running and container.started
        else None,
        ports=tuple(f"{port.host or '*'}:{port.port}" for port in container.published),
        memory=memory,
        memory_limit=container.memory_limit or None,
        image=container.image,
        labels=labels_of(container),
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
        recyclings=0,
        oom_killed=False,
        uptime=None,
        ports=(),
        memory=None,
        memory_limit=None,
        image="",
        labels=FrozenDict(),
        packages=FrozenDict(),
    )


def labels_of(container: Container) -> Mapping[str, str]:
    """What the image says of itself, under short names; empty where it says nothing."""
    named = {
        "version": "org.opencontainers.image.version",
        "revision": "org.opencontainers.image.revision",
        "target": "io.paddock.target",
        "backend": "io.paddock.backend",
        "model": "io.paddock.model",
        "variant": "io.paddock.variant",
    }
    return FrozenDict({short: container.labels.get(label, "") for short, label in named.items()})


def _memory(client: docker.DockerClient, container: Container) -> int | None:
    """Bytes in use without the page cache, as `docker stats` counts; None where nothing runs."""
    if container.state != "running":
        return None
    try:
        stats: dict[str, Any] = client.api.stats(container.id, stream=False, one_shot=True)
    except (docker.errors.DockerException, OSError):
        return None  # it ended just now
    return used_memory(stats)


def used_memory(stats: Mapping[str, Any]) -> int | None:
    """The memory in use by the engine's statistics.

    cgroup 2 calls the page cache that can be given back inactive_file, cgroup 1 total_inactive_file.
    """
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    detail = memory.get("stats") or {}
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return max(int(memory["usage"]) - int(cache), 0)


def _recyclings(client: docker.DockerClient, container: Container) -> int:
    """How often a worker of a site has ended to be started again; recycling.py of its image counts."""
    if container.service != "api" or container.state != "running":
        return 0
    try:
        counted = containers.file_in(client, container, f"{_WORKERS}/recycled-{container.id[:12]}")
        return int(counted or 0)
    except (EngineError, ValueError):
        return 0


def _packages(client: docker.DockerClient, container: Container) -> Mapping[str, str]:
    """Versions of PACKAGES by the container's own Python; empty where it has none."""
    if container.state != "running":
        return FrozenDict()
    argv = ["python", "-c", _ASK_VERSIONS, *PACKAGES]
    try:
        created = client.api.exec_create(container.id, argv, stderr=False)
        printed: bytes = client.api.exec_start(created["Id"])
        if client.api.exec_inspect(created["Id"])["ExitCode"] != 0:
            return FrozenDict()
        return FrozenDict({str(name): str(version) for name, version in json.loads(printed).items()})
    except (docker.errors.DockerException, OSError, ValueError):
        return FrozenDict()
