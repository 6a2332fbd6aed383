"""What must be so on this host before a stack is started. Each refusal says what was found and what to do.

Checked before anything is created: the files that the compose file mounts, the device nodes that it hands in,
the weights that the configuration names, the cards and their driver, the images, the port of the pipeline
API. Memory that may be short and a card that somebody else may hold are warnings only.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from paddock import engine
from paddock.engine import docker
from paddock.errors import EngineError, PreflightError
from paddock.matrix.images import TOOL
from paddock.paths import on_host
from paddock.report import Reporter
from paddock.stack import containers, hostcards
from paddock.stack.configuration import Bind, Configuration, Published
from paddock.stack.containers import Container
from paddock.stack.folder import StackFolder
from paddock.stack.weightsinuse import MODELS, WeightsInUse, in_use, models_bind

_PULLED = frozenset({"always", "missing", "if_not_present", "build", ""})
_GB = 10**9
_OURS = "/etc/paddock/"  # where a stack mounts what is rendered for it
_CARD = re.compile(r"([a-z]+)[0-9]+")  # the node of one card; nodes without a number are for all of them


def check(
    folder: StackFolder, configuration: Configuration, *, client: docker.DockerClient, report: Reporter
) -> None:
    """Raise PreflightError for the first thing that would stop the stack from starting."""
    if engine.is_local():
        try:
            require_files(configuration)
            require_devices(configuration)
            require_weights(folder, in_use(configuration))
        except PermissionError as failure:
            raise PreflightError(
                f"{failure.filename}: this user may not look at it, expected a path that the stack's user can read",
                hint="make it readable for everybody (`chmod -R a+rX FOLDER`)",
            ) from failure
        hostcards.require(configuration)
    elif configuration.host is not None:
        report.say(
            f"files, cards and driver: not looked at, the engine is on another machine ({engine.address()})"
        )
    require_images(folder, configuration, client=client)
    require_ports(configuration, client=client)
    _warn_of_memory(configuration, client=client, report=report)
    _warn_of_cards(configuration, client=client, report=report)


def require_files(configuration: Configuration) -> None:
    """Every host path that is mounted must be there: the engine would make an empty folder of root's in its
    place.
    """
    for service in configuration.services:
        for bind in service.binds:
            if on_host(bind.source).exists():
                continue
            what = "the weights folder (MODELS_DIR)" if bind.target == str(MODELS) else bind.target
            raise PreflightError(
                f"{bind.source}: is not there, expected {what} of the service {service.name}",
                hint=_mount_hint(bind),
            )
        models = models_bind(service.binds)
        if models is not None and not on_host(models.source).is_dir():
            raise PreflightError(
                f"{models.source}: found a file, expected the weights folder (MODELS_DIR)",
                hint=_models_hint(),
            )


def _mount_hint(bind: Bind) -> str:
    if bind.target == str(MODELS):
        return _models_hint()
    if bind.target.startswith(_OURS):
        return "restore it: `paddock render` writes it again"
    return (
        "it comes with the card's driver: install that on this host, or say in the stack's .env where it is"
    )


def require_devices(configuration: Configuration) -> None:
    """Every device node that a container is given must be there."""
    for service in configuration.services:
        for node in service.devices:
            if not on_host(node).exists():
                raise PreflightError(
                    f"{node}: is not there, expected the device node that the service {service.name} is given",
                    hint=_node_hint(node),
                )


def _node_hint(node: Path) -> str:
    stem = _CARD.fullmatch(node.name)
    cards = (
        sorted(node.with_name(each.name) for each in on_host(node.parent).glob(f"{stem[1]}[0-9]*"))
        if stem
        else []
    )
    if cards:
        return f"this host has {', '.join(map(str, cards))}; the stack's .env says which one to take"
    return "the card's driver makes it: install it on this host and see that it is loaded (`npu-smi info`)"


def require_weights(folder: StackFolder, weights: Iterable[WeightsInUse]) -> None:
    """Every set that the configuration names must be a folder that holds something."""
    missing = [each for each in weights if each.directory is not None and not _has_content(each)]
    if not missing:
        return
    places = ", ".join(f"{each.directory} (for {each.service})" for each in missing)
    raise PreflightError(
        f"{folder.called}: found no weights at {places}, expected the sets that its configuration names",
        hint=_models_hint(),
    )


def _has_content(weights: WeightsInUse) -> bool:
    assert weights.directory is not None  # noqa: S101 - asked by the caller
    directory = on_host(weights.directory)
    return directory.is_dir() and any(directory.iterdir())


def _models_hint() -> str:
    return (
        "`paddock models fetch MODEL` brings them, `paddock models make-test MODEL` makes small test weights; "
        "MODELS_DIR in the stack's .env says where they are"
    )


def require_images(folder: StackFolder, configuration: Configuration, *, client: docker.DockerClient) -> None:
    """Images that Compose will not pull must be in the engine."""
    needed = {each.image: each for each in configuration.services if each.pull_policy not in _PULLED}
    missing = sorted(image for image in needed if not _is_here(client, image))
    if not missing:
        return
    found = f"{folder.called}: found no image {', '.join(missing)} in this engine"
    if needed[missing[0]].upstream:
        raise PreflightError(
            f"{found}, and the offline variant pulls nothing",
            hint=f"`docker pull {missing[0]}` where there is a network, `docker save` and `docker load` carry it here",
        )
    build = f"build them (`{_build_commands(folder, missing)}`), " if folder.options else ""
    raise PreflightError(
        f"{found}, and PULL_POLICY=never forbids pulling",
        hint=f"{build}load them (`docker load`), or set PULL_POLICY=missing where a container registry has them",
    )


def _build_commands(folder: StackFolder, missing: Sequence[str]) -> str:
    """What makes these images; the tool's own belongs to no target."""
    tools = [image for image in missing if image.rpartition("/")[2].startswith(f"{TOOL.name}:")]
    commands = [f"paddock build {folder.options}"] if len(tools) < len(missing) else []
    return "; ".join([*commands, *([f"paddock build {TOOL.target}"] if tools else [])])


def _is_here(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        return False
    except docker.errors.APIError as failure:
        raise EngineError(f"Docker Engine: refused to look for {image}: {failure.explanation}") from failure
    return True


def require_ports(configuration: Configuration, *, client: docker.DockerClient) -> None:
    """Every port that the stack publishes must be free, or be held by this stack itself."""
    holders = [each for each in _publishing(client) if each.project != configuration.project]
    mine = {
        port.port
        for each in containers.of_project(client, configuration.project)
        if each.state == "running"
        for port in each.published
    }
    for service in configuration.services:
        for port in service.published:
            if port.port not in mine:
                _require_free(port, holders)


def _require_free(port: Published, holders: Iterable[Container]) -> None:
    holder = next((each for each in holders if any(_clash(port, theirs) for theirs in each.published)), None)
    where = f"{port.host or 'any address'}:{port.port}"
    hint = "choose another one with --port or API_PORT in .env"
    if holder is not None:
        stack = f" of the stack {holder.project} ({holder.folder})" if holder.project else ""
        raise PreflightError(
            f"port {where}: taken by the container {holder.name}{stack}, expected a free port",
            hint=f"{hint}, or stop that one"
            + (f" (`paddock down {holder.folder}`)" if holder.folder else ""),
        )
    if engine.is_local() and (reason := _cannot_listen(port)):
        raise PreflightError(
            f"port {where}: {reason}, expected a free port",
            hint=f"{hint}, or stop that program (`ss --listening --tcp --processes 'sport = :{port.port}'` shows it)",
        )


def _clash(one: Published, other: Published) -> bool:
    everywhere = {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not listened on
    return one.port == other.port and (
        one.host == other.host or one.host in everywhere or other.host in everywhere
    )


def _cannot_listen(port: Published) -> str:
    """Why nobody can listen there now; empty when it is free."""
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host or "0.0.0.0", port.port))  # noqa: S104 - as Docker does
        except OSError as failure:
            if failure.errno == errno.EACCES:  # the engine may listen there where this user may not
                return ""
            if failure.errno == errno.EADDRINUSE:
                return "taken by another program"
            return f"cannot be listened on: {failure.strerror}"
    return ""


def _publishing(client: docker.DockerClient) -> Iterable[Container]:
    for found in client.api.containers(all=False):
        if any(port.get("PublicPort") for port in found.get("Ports") or ()):
            yield containers.read(client.api.inspect_container(found["Id"]))


def _warn_of_memory(configuration: Configuration, *, client: docker.DockerClient, report: Reporter) -> None:
    wanted = sum(each.memory or 0 for each in configuration.services)
    present = int(client.info().get("MemTotal") or 0)
    if present and wanted > present:
        report.warn(
            f"memory: the containers may use {wanted / _GB:.1f} GB together, the host has {present / _GB:.1f} GB; "
            "API_MEMORY and VLM_MEMORY in .env set the limits"
        )


def _warn_of_cards(configuration: Configuration, *, client: docker.DockerClient, report: Reporter) -> None:
    for warning in cards_given_twice(configuration, dict(_cards_of_others(configuration, client))):
        report.warn(warning)


def cards_given_twice(configuration: Configuration, held: Mapping[Path, str]) -> Iterator[str]:
    """A warning for each card of this stack that `held` (device node -> by whom) or another of its services
    has.

    Drivers that hand out cards as device nodes give each to one container; the second one fails while it
    starts.
    """
    holders = dict(held)
    for service in configuration.services:
        for node in (each for each in service.devices if _CARD.fullmatch(each.name)):
            if node in holders:
                yield (
                    f"{node}: given to the service {service.name} and to {holders[node]}; the driver lets one "
                    "container hold a card unless sharing is on (docs/ascend.md)"
                )
            holders[node] = f"the service {service.name}"


def _cards_of_others(configuration: Configuration, client: docker.DockerClient) -> Iterator[tuple[Path, str]]:
    if not any(service.devices for service in configuration.services):
        return
    for found in client.api.containers(all=False):
        container = client.api.inspect_container(found["Id"])
        if containers.read(container).project == configuration.project:
            continue
        for device in container["HostConfig"].get("Devices") or ():
            yield Path(device["PathOnHost"]), f"the container {containers.read(container).name}"
