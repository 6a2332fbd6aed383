"""The containers of a stack as the engine sees them now: read, never changed.

A container belongs to a stack by Compose's labels; it is ours by the label `io.paddock.target` of its image.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from paddock import engine
from paddock.engine import docker
from paddock.errors import EngineError
from paddock.stack.configuration import NO_RESTART, Published

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
FOLDER = "com.docker.compose.project.working_dir"
OURS = "io.paddock.target"
BACKEND = "io.paddock.backend"
# Where a container sees how often that happened to it: control groups 2, and 1.
_MEMORY_EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_MICROSECONDS = re.compile(r"(\.\d{6})\d*")
_NEVER = "0001-01-01T00:00:00Z"
# Health checks, and the marks below a line of a Python traceback.
_NOISE = re.compile(r'"GET /(health|v1/models|health/ready) HTTP|^\s*(\([^)]*\) )?[\s~^]+$')


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One container now. `health` is empty without a health check; `started` is None where it never was."""

    id: str
    name: str
    project: str
    service: str
    folder: str
    state: str  # created, running, restarting, exited, paused, dead
    exit_code: int
    oom_killed: bool
    error: str
    restarts: int
    health: str  # starting, healthy, unhealthy
    health_message: str
    start_period: float  # seconds
    started: datetime | None
    finished: datetime | None
    published: tuple[Published, ...]
    image: str
    labels: Mapping[str, str]
    memory_limit: int  # bytes; 0 is no limit
    done: bool = False  # it was to run once, and has ended well


def of_project(client: docker.DockerClient, project: str) -> tuple[Container, ...]:
    """The containers of one Compose project, in order of service."""
    return _listed(client, [f"{PROJECT}={project}"])


def ours(client: docker.DockerClient) -> tuple[Container, ...]:
    """Every container made from an image of paddock's, in order of project and service."""
    return tuple(container for container in _listed(client, [OURS]) if container.project)


def url_of(containers: Sequence[Container], service: str, *, inside: int | None = None) -> str | None:
    """Where a service of a stack answers, seen from here; None where it is not there or not published.

    `inside` is the port in the container where it publishes several.
    """
    for port in _ports_of(containers, service):
        if inside not in (None, port.inside):
            continue
        everywhere = port.host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not listened on
        host = engine.host() if everywhere else port.host
        return f"http://[{host}]:{port.port}" if ":" in host else f"http://{host}:{port.port}"
    return None


def _ports_of(containers: Sequence[Container], service: str) -> Iterator[Published]:
    for container in containers:
        if container.service == service:
            yield from container.published


def last_lines(client: docker.DockerClient, container: Container, count: int = 20) -> list[str]:
    """The last lines that a container printed, without its health checks.

    Of a container that was restarted, those of the run that ended last, not the first ones of the new run.
    """
    until = container.finished if container.state == "running" and container.restarts else None
    try:
        raw: bytes = client.api.logs(
            container.id,
            tail=count * 10,
            stdout=True,
            stderr=True,
            until=until.timestamp() if until else None,
        )
    except docker.errors.NotFound:
        return []
    except docker.errors.APIError as failure:
        raise _refused(failure) from failure
    lines = [line.rstrip() for line in raw.decode("utf-8", "replace").splitlines()]
    return [line for line in lines if line and not _NOISE.search(line)][-count:]


def ran_out_of_memory(client: docker.DockerClient, project: str, since: str = "0") -> frozenset[str]:
    """The ids of a project's containers of which the kernel ended a process for want of memory.

    Unlike the state of a container, the engine's events outlive a restart. It keeps the last 256 of
    all kinds; those before `since`, a time of the engine's, do not count.
    """
    wanted = {"type": ["container"], "event": ["oom"], "label": [f"{PROJECT}={project}"]}
    try:
        # as text: the SDK's own types of a time lose what is less than a second
        until: Any = now(client)
        begin: Any = since
        events = client.api.events(since=begin, until=until, filters=wanted, decode=True)
        return frozenset(str(event["Actor"]["ID"]) for event in events)
    except (docker.errors.DockerException, OSError, KeyError):
        return frozenset()  # what it would have added to other words is not worth an error


def now(client: docker.DockerClient) -> str:
    """The time by the engine's clock, as its events have it."""
    moment = datetime.fromisoformat(_MICROSECONDS.sub(r"\1", str(client.info()["SystemTime"])))
    return f"{moment.timestamp():.6f}"


def killed_for_memory(client: docker.DockerClient, container: Container) -> int:
    """How many processes of a running container the kernel ended for want of memory, by its control group."""
    if container.state != "running":
        return 0
    try:
        created = client.api.exec_create(container.id, ["cat", *_MEMORY_EVENTS], stderr=False)
        printed: bytes = client.api.exec_start(created["Id"])
    except (docker.errors.DockerException, OSError):
        return 0
    return sum(int(count) for count in re.findall(rb"^oom_kill (\d+)$", printed, re.MULTILINE))


def holds(client: docker.DockerClient, container: Container, path: str) -> bool:
    """Whether a path exists in a container's file system, running or not."""
    try:
        stream, _ = client.api.get_archive(container.id, path)
        stream.close()
    except docker.errors.NotFound:
        return False
    except docker.errors.APIError as failure:
        raise _refused(failure) from failure
    return True


def file_in(client: docker.DockerClient, container: Container, path: str) -> bytes | None:
    """A small file of a container's file system; None where it does not exist."""
    try:
        stream, _ = client.api.get_archive(container.id, path)
        with tarfile.open(fileobj=BytesIO(b"".join(stream))) as archive:
            files = [archive.extractfile(member) for member in archive.getmembers() if member.isfile()]
    except docker.errors.NotFound:
        return None
    except docker.errors.APIError as failure:
        raise _refused(failure) from failure
    return files[0].read() if files and files[0] else None


def _listed(client: docker.DockerClient, labels: Sequence[str]) -> tuple[Container, ...]:
    try:
        listed = client.api.containers(all=True, filters={"label": list(labels)})
        inspected = [_inspected(client, entry["Id"]) for entry in listed]
    except (docker.errors.DockerException, OSError) as failure:
        raise _refused(failure) from failure
    present = [container for container in inspected if container is not None]
    return tuple(
        sorted(present, key=lambda container: (container.project, container.service, container.name))
    )


def _inspected(client: docker.DockerClient, identity: str) -> Container | None:
    try:
        return read(client.api.inspect_container(identity))
    except docker.errors.NotFound:  # it was removed after it was listed
        return None


def read(inspected: Mapping[str, Any]) -> Container:
    """A container from the engine's own description of it (`docker inspect`)."""
    state, configuration, host = inspected["State"], inspected["Config"], inspected["HostConfig"]
    health = state.get("Health") or {}
    labels = configuration.get("Labels") or {}
    check = configuration.get("Healthcheck") or {}
    return Container(
        id=inspected["Id"],
        name=inspected["Name"].removeprefix("/"),
        project=labels.get(PROJECT, ""),
        service=labels.get(SERVICE, ""),
        folder=labels.get(FOLDER, ""),
        state=state["Status"],
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        restarts=int(inspected.get("RestartCount") or 0),
        health=health.get("Status", "").replace("none", ""),
        health_message=_last_failure(health),
        start_period=(check.get("StartPeriod") or 0) / 1e9,
        started=_moment(state.get("StartedAt", _NEVER)),
        finished=_moment(state.get("FinishedAt", _NEVER)),
        published=_published(host),
        image=configuration.get("Image", ""),
        labels=labels,
        memory_limit=int(host.get("Memory") or 0),
        done=_is_done(state, host),
    )


def _last_failure(health: Mapping[str, Any]) -> str:
    """What the last health check said, if it failed."""
    log = health.get("Log") or []
    if not log or log[-1].get("ExitCode") == 0:
        return ""
    return " ".join(str(log[-1].get("Output", "")).split())


def _moment(text: str) -> datetime | None:
    """A time of the engine's (RFC 3339, nanoseconds); None for the year 1, which means never."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(_MICROSECONDS.sub(r"\1", text)).astimezone(UTC)


def _is_done(state: Mapping[str, Any], host: Mapping[str, Any]) -> bool:
    policy = (host.get("RestartPolicy") or {}).get("Name") or NO_RESTART
    return policy == NO_RESTART and state["Status"] == "exited" and not state.get("ExitCode")


def _published(host: Mapping[str, Any]) -> tuple[Published, ...]:
    bindings = host.get("PortBindings") or {}
    return tuple(
        Published(
            host=binding.get("HostIp", ""),
            port=int(binding["HostPort"]),
            inside=int(inside.partition("/")[0]),
        )
        for inside, addresses in bindings.items()
        for binding in addresses or ()
        if str(binding.get("HostPort", "")).isdigit()
    )


def _refused(failure: Exception) -> EngineError:
    explanation = failure.explanation if isinstance(failure, docker.errors.APIError) else None
    return EngineError(
        f"Docker Engine: refused a request: {explanation or failure}",
        hint="`docker version` shows whether it answers",
    )
