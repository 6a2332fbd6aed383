"""What the engine of this machine holds of a Compose project, and taking it away."""

from __future__ import annotations

import json
from typing import Any

from programs import docker


def containers_of(project: str, service: str = "") -> list[str]:
    """Ids of a project's containers, running or not."""
    filters = [f"--filter={_label('project', project)}"]
    if service:
        filters.append(f"--filter={_label('service', service)}")
    return docker("ps", "--all", "--quiet", *filters).split()


def resources_of(project: str, kind: str) -> list[str]:
    """The project's resources of one kind: `network` or `volume`."""
    return docker(kind, "ls", "--quiet", f"--filter={_label('project', project)}").split()


def remove_project(project: str) -> None:
    """Remove whatever a test left of a project."""
    if containers := containers_of(project):
        docker("rm", "--force", "--volumes", *containers, check=False)
    for kind in ("network", "volume"):
        if resources := resources_of(project, kind):
            docker(kind, "rm", *resources, check=False)


def inspected(reference: str) -> dict[str, Any]:
    """What `docker inspect` says of one container, image or network."""
    answer: list[dict[str, Any]] = json.loads(docker("inspect", reference))
    return answer[0]


def _label(name: str, value: str) -> str:
    return f"label=com.docker.compose.{name}={value}"
