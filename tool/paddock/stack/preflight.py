"""What must be true of this host before a stack is started. Each refusal says what was found and what to do.

Checked before anything is created: the files that the compose file mounts, the device nodes that it passes
on, the weights that the configuration names, the cards and their driver, the images, and the ports. Memory
that may be short and a card that is given twice are warnings only.
"""

from __future__ import annotations

import errno
import re
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from paddock import engine
from paddock.engine import docker
from paddock.errors import PreflightError, quoted, step_after
from paddock.matrix.images import SITE, TOOL
from paddock.report import Reporter
from paddock.stack import containers, hostcards
from paddock.stack.configuration import Bind, Configuration, Device, Published, Service
from paddock.stack.containers import Container
from paddock.stack.entrance import CERTIFICATES, NOTHING
from paddock.stack.folder import StackFolder
from paddock.stack.weightsinuse import CONFIGURATION, MODELS, WeightsInUse, in_use, models_bind

_PULLED = frozenset({"always", "missing", "if_not_present", "build", ""})  # policies by which Compose pulls
_GB = 10**9
_PROGRAMS = "/opt/paddock"  # where upstream's images get the programs that ours hold
_API_KEYS = "/etc/paddock/api-keys"  # where the pipeline API gets the folder of its clients' keys
_USER, _GROUP = "10001:0", 0  # whom our processes run as; RUN_AS changes the user, never the group
_CARD_NODE = re.compile(r"([a-z]+)[0-9]+")  # nodes without a number serve all cards
_EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not listened on

# Folders that must hold a file: where it is mounted, the file, and what it is.
_HOLDING = (
    (_API_KEYS, "keys", "the keys of the API's clients"),
    (CERTIFICATES, "door.pem", "the door's certificate chain with its key"),
)

_MODELS_HINT = (
    "`paddock models fetch MODEL` downloads weights, `paddock models make-test MODEL` makes small test "
    "weights; MODELS_DIR in the stack's .env says where they are"
)


def check(
    folder: StackFolder, configuration: Configuration, *, client: docker.DockerClient, report: Reporter
) -> None:
    """Raise PreflightError for the first thing that would stop the stack from starting."""
    if engine.is_local():
        check_host(folder, configuration)
    elif configuration.host is not None:
        report.say(
            f"files, cards and driver: not looked at, the engine is on another machine ({engine.address()})"
        )
    require_images(folder, configuration, client=client)
    require_ports(configuration, client=client)
    if warning := memory_warning(configuration, int(client.info().get("MemTotal") or 0)):
        report.warn(warning)
    for warning in cards_given_twice(configuration, _card_holders(configuration, client)):
        report.warn(warning)


def check_host(folder: StackFolder, configuration: Configuration) -> None:
    """Raise PreflightError for what is missing on this host itself: files, devices, weights, cards."""
    try:
        require_files(configuration)
        require_readable(folder, configuration)
        require_devices(configuration)
        require_weights(folder, in_use(configuration))
    except PermissionError as failure:
        raise PreflightError(
            f"{failure.filename}: this user may not look at it, expected a path that everybody can read",
            hint=step_after(failure, failure.filename),
        ) from failure
    hostcards.require(configuration)


# --- files, devices, weights --------------------------------------------------------------------------------


def require_files(configuration: Configuration) -> None:
    """Raise PreflightError for a mounted path that is missing: the engine would put an empty folder there."""
    for service in configuration.services:
        for bind in service.binds:
            if not bind.here.exists():
                what = "the weights folder (MODELS_DIR)" if bind.target == str(MODELS) else bind.target
                raise PreflightError(
                    f"{bind.source}: is not there, expected {what} of the service {service.name}",
                    hint=_mount_hint(bind),
                )
            for target, name, what in _HOLDING:
                if bind.target == target and bind.source != NOTHING and not (bind.here / name).is_file():
                    raise PreflightError(
                        f"{bind.source}: found no file `{name}` in it, expected {what}",
                        hint=_mount_hint(bind),
                    )
        models = models_bind(service.binds)
        if models is not None and not models.here.is_dir():
            raise PreflightError(
                f"{models.source}: found a file, expected the weights folder (MODELS_DIR)",
                hint=_MODELS_HINT,
            )


def require_readable(folder: StackFolder, configuration: Configuration) -> None:
    """Raise PreflightError for a file of the stack's that only its owner may read, as umask 077 leaves it."""
    user = folder.setting("RUN_AS", _USER).partition(":")[0]
    for service in configuration.services:
        for bind in service.binds:
            if bind.target.startswith((CONFIGURATION, _PROGRAMS)) and not service.upstream:
                _require_readable(bind, user)


def _require_readable(bind: Bind, user: str) -> None:
    found = bind.here.stat()
    wanted = stat.S_IROTH | (stat.S_IXOTH if bind.here.is_dir() else 0)
    given = found.st_mode | (found.st_mode >> 3 if found.st_gid == _GROUP else 0)
    if given & wanted != wanted and str(found.st_uid) != user:
        raise PreflightError(
            f"{bind.source}: found the mode {stat.S_IMODE(found.st_mode):04o}, expected one by which the "
            f"container's user {user} may read it",
            hint=f"`chmod -R a+rX {quoted(bind.source)}` lets everybody read it",
        )


def _mount_hint(bind: Bind) -> str:
    if bind.target == str(MODELS):
        return _MODELS_HINT
    if bind.target == _PROGRAMS:
        return (
            "copy compose/upstream there, or set UPSTREAM_PROGRAMS in the stack's .env to where it is: a "
            "folder of compose/ alone lacks the programs that upstream's images are started with"
        )
    if bind.target == _API_KEYS:
        return (
            f"`paddock keys add NAME --file {bind.source}/keys` makes the first key; API_KEYS_DIR in the "
            "stack's .env names the folder, and empty it asks for no key"
        )
    if bind.target == CERTIFICATES:
        return (
            "`cat CHAIN.pem KEY.pem > FOLDER/door.pem` makes it, and group 0 must be able to read it; empty, "
            "DOOR_TLS_DIR in the stack's .env has the door sign a certificate itself"
        )
    if bind.target.startswith(CONFIGURATION):
        return "restore it: `paddock render` writes it again"
    return "it comes with the card's driver: install that on this host, or set its path in the stack's .env"


def require_devices(configuration: Configuration) -> None:
    """Raise PreflightError for a device node that is missing."""
    for service in configuration.services:
        for device in service.devices:
            if not device.here.exists():
                raise PreflightError(
                    f"{device.node}: is not there, expected the device node that the service {service.name} "
                    "is given",
                    hint=_device_hint(device),
                )


def _device_hint(device: Device) -> str:
    match = _CARD_NODE.fullmatch(device.node.name)
    present = device.here.parent.glob(f"{match[1]}[0-9]*") if match else ()
    cards = sorted(str(device.node.with_name(path.name)) for path in present)
    if cards:
        return f"this host has {', '.join(cards)}; the stack's .env says which one to use"
    return "the card's driver makes it: install it on this host and see that it is loaded (`npu-smi info`)"


def require_weights(folder: StackFolder, weights: Iterable[WeightsInUse]) -> None:
    """Raise PreflightError for the sets in a models directory that are missing or empty."""
    missing = [
        weight_set
        for weight_set in weights
        if weight_set.here is not None and not _has_content(weight_set.here)
    ]
    if not missing:
        return
    places = ", ".join(f"{weight_set.directory} (for {weight_set.service})" for weight_set in missing)
    raise PreflightError(
        f"{folder.name}: found no weights at {places}, expected the sets that its configuration names",
        hint=_MODELS_HINT,
    )


def _has_content(directory: Path) -> bool:
    return directory.is_dir() and any(directory.iterdir())


# --- images -------------------------------------------------------------------------------------------------


def require_images(folder: StackFolder, configuration: Configuration, *, client: docker.DockerClient) -> None:
    """Raise PreflightError for images that are not in the engine and that Compose will not pull."""
    needed = {
        service.image: service for service in configuration.services if service.pull_policy not in _PULLED
    }
    missing = sorted(image for image in needed if not engine.has_image(client, image))
    if not missing:
        return
    what = f"{folder.name}: found no image {', '.join(missing)} in this engine"
    if needed[missing[0]].upstream:
        raise PreflightError(
            f"{what}, and the offline variant pulls nothing",
            hint=f"`docker pull {missing[0]}` where there is a network, then `docker save` and `docker load` "
            "bring it here",
        )
    build = (
        f"build them (`{_build_commands(folder, [needed[image] for image in missing])}`), "
        if folder.options
        else ""
    )
    raise PreflightError(
        f"{what}, and PULL_POLICY=never forbids pulling",
        hint=f"{build}load them (`docker load`), or set PULL_POLICY=missing where a container registry has "
        "them",
    )


def _build_commands(folder: StackFolder, missing: Sequence[Service]) -> str:
    """The commands that build the images of these services."""
    return "; ".join(dict.fromkeys(f"paddock build {_built_as(folder, service)}" for service in missing))


def _built_as(folder: StackFolder, service: Service) -> str:
    """What `paddock build` takes for the image: those of a site are named after their services."""
    name = service.image.rpartition("/")[2].partition(":")[0]
    if name == TOOL.name:
        return TOOL.target
    return SITE if name == service.name else folder.options


# --- ports --------------------------------------------------------------------------------------------------


def require_ports(configuration: Configuration, *, client: docker.DockerClient) -> None:
    """Raise PreflightError for a published port that another stack or program has."""
    holders = [
        container
        for container in _publishing_containers(client)
        if container.project != configuration.project
    ]
    own_ports = {
        port.port
        for container in containers.of_project(client, configuration.project)
        if container.state == "running"
        for port in container.published
    }
    for service in configuration.services:
        for port in service.published:
            if port.port not in own_ports:
                _require_free(port, holders)


def _publishing_containers(client: docker.DockerClient) -> Iterator[Container]:
    for listed in client.api.containers(all=False):
        if any(port.get("PublicPort") for port in listed.get("Ports") or ()):
            yield containers.read(client.api.inspect_container(listed["Id"]))


def _require_free(port: Published, holders: Iterable[Container]) -> None:
    where = f"{port.host or 'any address'}:{port.port}"
    hint = "choose another one with --port or API_PORT in .env"
    for holder in holders:
        if any(_clash(port, published) for published in holder.published):
            stack = f" of the stack {holder.project} ({holder.folder})" if holder.project else ""
            down = f" (`paddock down {holder.folder}`)" if holder.folder else ""
            raise PreflightError(
                f"port {where}: taken by the container {holder.name}{stack}, expected a free port",
                hint=f"{hint}, or stop that container{down}",
            )
    if engine.is_local() and (reason := _cannot_listen(port)):
        raise PreflightError(
            f"port {where}: {reason}, expected a free port",
            hint=f"{hint}, or stop that program "
            f"(`ss --listening --tcp --processes 'sport = :{port.port}'` shows it)",
        )


def _clash(wanted: Published, taken: Published) -> bool:
    if wanted.port != taken.port:
        return False
    return wanted.host == taken.host or wanted.host in _EVERY_ADDRESS or taken.host in _EVERY_ADDRESS


def _cannot_listen(port: Published) -> str:
    """Why no program can listen there now; empty where the port is free."""
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


# --- warnings -----------------------------------------------------------------------------------------------


def memory_warning(configuration: Configuration, present: int) -> str:
    """A warning where the containers may use more than the host's `present` bytes; 0 is unknown."""
    wanted = sum((service.memory or 0) * service.replicas for service in configuration.services)
    if not present or wanted <= present:
        return ""
    workers = sum(service.replicas for service in configuration.services if service.replicas > 1)
    fewer = f"; {workers} of them are workers, and API_REPLICAS says how many" if workers else ""
    return (
        f"memory: the containers may use {wanted / _GB:.1f} GB together, the host has {present / _GB:.1f} "
        f"GB; API_MEMORY and VLM_MEMORY in .env set the limits{fewer}"
    )


def cards_given_twice(configuration: Configuration, holders: Mapping[Path, str]) -> Iterator[str]:
    """A warning for each card that a service is given and that another one, or one of `holders`, has too.

    `holders` says by device node who has it. Drivers that hand out cards as device nodes give each to one
    container; the second one fails while it starts.
    """
    holder_of = dict(holders)
    for service in configuration.services:
        for node in (device.node for device in service.devices):
            if not _CARD_NODE.fullmatch(node.name):
                continue
            if node in holder_of:
                yield (
                    f"{node}: given to the service {service.name} and to {holder_of[node]}; "
                    "the driver lets one container hold a card unless sharing is on (docs/guides/ascend.md)"
                )
            holder_of[node] = f"the service {service.name}"


def _card_holders(configuration: Configuration, client: docker.DockerClient) -> dict[Path, str]:
    """The device nodes that containers of other stacks have, and which container each."""
    holders: dict[Path, str] = {}
    if not any(service.devices for service in configuration.services):
        return holders
    for listed in client.api.containers(all=False):
        inspected = client.api.inspect_container(listed["Id"])
        container = containers.read(inspected)
        if container.project == configuration.project:
            continue
        for device in inspected["HostConfig"].get("Devices") or ():
            holders[Path(device["PathOnHost"])] = f"the container {container.name}"
    return holders
