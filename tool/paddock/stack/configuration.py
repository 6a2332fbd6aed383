"""What `docker compose config` says about a stack, as records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from paddock.matrix.fieldtypes import FrozenDict

NO_RESTART = "no"  # how a service says that it ends by itself

_UPSTREAM_LABEL = ("io.paddock.images", "upstream")

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


def configuration(found: Mapping[str, Any]) -> Configuration:
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
        environment=FrozenDict(
            {key: str(value or "") for key, value in (found.get("environment") or {}).items()}
        ),
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
