"""What `docker compose config` says about a stack, as records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.records import Accelerator
from paddock.paths import on_host

NO_RESTART = "no"  # the restart policy of a service that ends by itself

_UPSTREAM_LABEL = ("io.paddock.images", "upstream")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """A bind mount: `source` on the host as Compose names it, `here` as this process sees the same path."""

    source: Path
    here: Path
    target: str

    @classmethod
    def of(cls, source: Path, target: str) -> Bind:
        """Bind a path of the host, looked up from here once."""
        return cls(source=source, here=on_host(source), target=target)


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A device node: `node` on the host as Compose names it, `here` as this process sees the same path."""

    node: Path
    here: Path

    @classmethod
    def of(cls, node: Path) -> Device:
        """Name a device node of the host, looked up from here once."""
        return cls(node=node, here=on_host(node))


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A port of the host that leads to one `inside` a container. `host` is empty for every address."""

    host: str
    port: int
    inside: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cards:
    """The NVIDIA cards that a container gets: those with these numbers or UUIDs, or any `count` of them."""

    named: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NvidiaNeeds:
    """The NVIDIA driver and cards that a stack needs. `card_memory` in GB, None where any will do."""

    driver: str  # the oldest version that works
    driver_reason: str
    compute_capability: str = ""  # version specifier
    card_memory: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AscendNeeds:
    """The Ascend driver and chips that a stack needs."""

    driver: str  # the oldest version that works
    driver_reason: str
    chip: str = ""  # prefix of the chip's name


HostNeeds = NvidiaNeeds | AscendNeeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One container of a stack as it will be started. `memory` in bytes, `start_period` in seconds."""

    name: str
    image: str
    pull_policy: str  # Compose's words; empty where the file says nothing
    published: tuple[Published, ...]
    binds: tuple[Bind, ...]
    devices: tuple[Device, ...] = ()
    cards: Cards = field(default_factory=Cards)
    environment: Mapping[str, str]
    memory: int | None
    start_period: float
    upstream: bool = False  # runs an image of upstream's
    replicas: int = 1  # containers of it; `memory` is for each
    once: bool = False  # runs to its end and is not restarted; other services may wait for that


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """What a stack's compose.yaml resolves to."""

    project: str
    services: tuple[Service, ...]
    host: HostNeeds | None = None  # None: any host


def read_configuration(document: Mapping[str, Any]) -> Configuration:
    """The records of what `docker compose config --format json` printed, after `resolved`."""
    services = document.get("services") or {}
    return Configuration(
        project=str(document["name"]),
        services=tuple(_service(name, service) for name, service in services.items()),
        host=_host_needs(document.get("x-host") or {}),
    )


def resolved(printed: Any) -> Any:  # noqa: ANN401 - any part of a JSON document
    """What `docker compose config` printed, with the `$$` that it writes for each `$` as one again."""
    match printed:
        case str():
            return printed.replace("$$", "$")
        case dict():
            return {key: resolved(value) for key, value in printed.items()}
        case list():
            return [resolved(value) for value in printed]
    return printed


def _host_needs(document: Mapping[str, Any]) -> HostNeeds | None:
    """What `x-host` asks for; None where it asks for nothing, or for an unknown accelerator."""
    driver, reason = str(document.get("driver") or ""), str(document.get("driver_reason") or "")
    accelerator = document.get("accelerator")
    if accelerator == Accelerator.NVIDIA:
        memory = document.get("card_memory")
        return NvidiaNeeds(
            driver=driver,
            driver_reason=reason,
            compute_capability=str(document.get("compute_capability") or ""),
            card_memory=int(memory) if memory else None,
        )
    if accelerator == Accelerator.ASCEND:
        return AscendNeeds(driver=driver, driver_reason=reason, chip=str(document.get("chip") or ""))
    return None


def _service(name: str, document: Mapping[str, Any]) -> Service:
    health = document.get("healthcheck") or {}
    memory = document.get("mem_limit")
    devices = document.get("devices") or ()
    environment = document.get("environment") or {}
    return Service(
        name=name,
        image=str(document.get("image", "")),
        pull_policy=str(document.get("pull_policy") or ""),
        published=_published(document),
        binds=_binds(document),
        devices=tuple(Device.of(Path(device["source"])) for device in devices),
        cards=_cards(document),
        environment=FrozenDict({key: str(value or "") for key, value in environment.items()}),
        memory=int(memory) if memory else None,
        start_period=seconds(str(health.get("start_period") or "")),
        replicas=int((document.get("deploy") or {}).get("replicas", 1)),
        upstream=_UPSTREAM_LABEL in (document.get("labels") or {}).items(),
        once=document.get("restart") == NO_RESTART,
    )


def _published(service: Mapping[str, Any]) -> tuple[Published, ...]:
    return tuple(
        Published(
            host=str(port.get("host_ip") or ""),
            port=int(port["published"]),
            inside=int(port.get("target") or 0),
        )
        for port in service.get("ports") or ()
        if str(port.get("published") or "").isdigit()
    )


def _binds(service: Mapping[str, Any]) -> tuple[Bind, ...]:
    return tuple(
        Bind.of(Path(volume["source"]), str(volume["target"]))
        for volume in service.get("volumes") or ()
        if volume.get("type") == "bind"
    )


def _cards(service: Mapping[str, Any]) -> Cards:
    reserved = ((service.get("deploy") or {}).get("resources") or {}).get("reservations") or {}
    requests = [device for device in reserved.get("devices") or () if device.get("driver") == "nvidia"]
    return Cards(
        named=tuple(str(card) for request in requests for card in request.get("device_ids") or ()),
        count=max((int(request.get("count") or 0) for request in requests), default=0),
    )


def seconds(duration: str) -> float:
    """Seconds of a duration in Compose's notation, such as `10m0s`; 0 for an empty one."""
    return sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in _DURATION.findall(duration))
