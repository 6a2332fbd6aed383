"""Records of stacks for tests that give only what they are about."""

from __future__ import annotations

from typing import Any

from paddock.matrix.fieldtypes import FrozenDict
from paddock.stack.configuration import Configuration, HostNeeds, Service


def service(name: str = "api", **fields: Any) -> Service:
    """A service of a stack for the CPU, with these fields instead."""
    usual: dict[str, Any] = {
        "name": name,
        "image": "paddock/cpu-api:0.1.0",
        "pull_policy": "never",
        "published": (),
        "binds": (),
        "environment": FrozenDict(),
        "memory": None,
        "start_period": 0.0,
    }
    return Service(**{**usual, **fields})


def configuration(*services: Service, host: HostNeeds | None = None) -> Configuration:
    """The stack `paddock-cpu` with these services."""
    return Configuration(project="paddock-cpu", services=services, host=host)
