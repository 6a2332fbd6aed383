"""Docker: connecting to the engine, and finding the compose and buildx commands.

Each refusal says what to install. The engine is the one that the `docker` command takes: DOCKER_HOST, else
the context, else the local socket. No connection within this machine goes through a proxy. Nothing here knows
stacks; `paddock.stack.containers` does.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from paddock import process
from paddock.errors import EngineError, ProgramError, causes

if TYPE_CHECKING:
    import docker
else:

    class _LoadedOnFirstUse:
        """Docker's SDK, which takes a fifth of a second to import: only what asks the engine pays for it."""

        def __getattr__(self, name: str) -> object:
            return getattr(import_module("docker"), name)

    docker = _LoadedOnFirstUse()

__all__ = [
    "BUILDING_ENGINE",
    "MINIMUM_COMPOSE",
    "MINIMUM_ENGINE",
    "SITE_COMPOSE",
    "TIMEOUT",
    "Endpoint",
    "Release",
    "address",
    "chosen",
    "compose_argv",
    "connect",
    "docker",
    "has_image",
    "host",
    "is_local",
    "platform",
    "require_buildx",
]

# To run stacks: the seccomp profile of older ones breaks programs of current Debian (clone3).
MINIMUM_ENGINE = "20.10.10"
# To build images: BuildKit 0.11, the first that takes SOURCE_DATE_EPOCH.
BUILDING_ENGINE = "24.0.0"
MINIMUM_COMPOSE = "2.0.0"
# For site.yaml: the first that takes away a port of compose.yaml (`!reset`).
SITE_COMPOSE = "2.24.4"
TIMEOUT = 60  # seconds for one answer of the engine
_LOCAL = "unix:///var/run/docker.sock"
_LOCAL_TLS = "tcp://localhost:2376"
_DEFAULT_CONTEXT = "default"  # the one that is none
_PROGRAM_TIMEOUT = 60.0  # seconds for a program that prints its version
_THIS_MACHINE = re.compile(r"localhost|127\.[0-9.]+|::1")
_ANY_API = "1.41"  # the requests until the engine has said which it speaks need none
_INSTALL_HINT = "install Docker Engine (Debian: `make engine`, or the package docker.io), then try again"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Release:
    """The numbers in front of a version such as `26.1.5+dfsg1` or `v2.26.1-4`."""

    numbers: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Release | None:
        """None where the text does not start with a version."""
        found = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
        return cls(numbers=tuple(int(number) for number in found[1].split("."))) if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _TLSFiles:
    """What a connection is secured with: files that are there, and whether the engine must prove itself."""

    ca: Path | None
    certificate: Path | None
    key: Path | None
    verify: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An engine's address, such as unix:///run/docker.sock, tcp://host:2376 or ssh://user@host."""

    address: str
    tls: _TLSFiles | None = None


def connect(*, timeout: float | None = TIMEOUT, minimum: str = MINIMUM_ENGINE) -> docker.DockerClient:
    """A client of an engine that answers and is not too old. Raises EngineError.

    `timeout` is for one answer in seconds; None for requests that take as long as an image is large.
    """
    found = chosen()
    try:
        _require_listener(found.address)
        with closing(_client(found, _ANY_API)) as asking:
            said = asking.api.version(api_version=False)
        client, version = _client(found, str(said["ApiVersion"])), str(said["Version"])
        client.api.timeout = timeout  # type: ignore[assignment]  # requests knows None, too
    except (docker.errors.DockerException, OSError, KeyError, ValueError) as failure:
        raise _no_engine(failure) from failure
    release, least = Release.of(version), Release.of(minimum)
    if release and least and release < least:
        client.close()
        raise EngineError(
            f"Docker Engine at {address()}: found version {version}, expected {minimum} or later",
            hint=f"update Docker Engine: stacks need {MINIMUM_ENGINE}, builds need {BUILDING_ENGINE}",
        )
    return client


def platform(client: docker.DockerClient) -> str:
    """Docker's os/arch of the machine that the engine runs on."""
    found = client.version()
    return f"{found['Os']}/{found['Arch']}"


def has_image(client: docker.DockerClient, reference: str) -> bool:
    """Whether the engine holds an image of that name. Raises EngineError where it refuses to look."""
    try:
        client.images.get(reference)
    except docker.errors.ImageNotFound:
        return False
    except docker.errors.APIError as failure:
        raise EngineError(
            f"Docker Engine: refused to look for {reference}: {failure.explanation}"
        ) from failure
    return True


def address() -> str:
    """Where the engine is looked for. Raises EngineError for a context that is not there."""
    return chosen().address


def is_local() -> bool:
    """Whether the engine runs on this machine: its ports and bind mounts are this machine's."""
    return address().removeprefix("http+").startswith("unix:")


def host() -> str:
    """The name or address under which ports that containers publish can be reached from here."""
    return "127.0.0.1" if is_local() else urlsplit(address()).hostname or "127.0.0.1"


@cache
def compose_argv(minimum: str = MINIMUM_COMPOSE) -> tuple[str, ...]:
    """How Compose v2 is started: `docker compose` or the standalone `docker-compose`. Raises EngineError."""
    chosen()  # without its context, neither would say more than that
    found = [(argv, version) for argv in _COMPOSE_COMMANDS if (version := _version_of(argv))]
    for argv, version in found:
        release, wanted = Release.of(version), Release.of(minimum)
        if release and wanted and release >= wanted:
            return argv
    have = ", ".join(f"`{process.command_line(argv)}` {version}" for argv, version in found) or "none"
    raise EngineError(
        f"Docker Compose: found {have}, expected version {minimum} or later",
        hint="install Compose v2 (Debian 12: `make engine`; elsewhere the package docker-compose-plugin)",
    )


@cache
def require_buildx() -> str:
    """The version of `docker buildx`. Raises EngineError when it is not there."""
    chosen()
    try:
        printed = process.capture(["docker", "buildx", "version"], timeout=_PROGRAM_TIMEOUT).stdout.split()
    except ProgramError as absent:
        raise EngineError(
            f"Docker Buildx: found none ({absent.last_line}), expected the docker plugin buildx",
            hint="install it (Debian: docker-buildx or `make engine`; elsewhere docker-buildx-plugin)",
        ) from absent
    return printed[1] if len(printed) > 1 else "unknown"


# --- which engine -------------------------------------------------------------------------------------------


def chosen() -> Endpoint:
    """The engine that `docker` takes here, found in the order and places of docker/cli.

    Raises EngineError for a context that is named and not there.
    """
    if os.environ.get("DOCKER_HOST"):
        return _of_environment(os.environ["DOCKER_HOST"])
    name = os.environ.get("DOCKER_CONTEXT") or _current_context()
    return _of_environment("") if name in ("", _DEFAULT_CONTEXT) else _of_context(name)


def _of_environment(host: str) -> Endpoint:
    """The engine at DOCKER_HOST, or the local one, by DOCKER_TLS, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH."""
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    tls = None
    if verify or os.environ.get("DOCKER_TLS"):
        tls = _tls_files(Path(os.environ.get("DOCKER_CERT_PATH") or _docker_folder()), verify=verify)
    address = host.strip() or (_LOCAL_TLS if tls else _LOCAL)
    return Endpoint(address=address if "://" in address else f"tcp://{address}", tls=tls)


def _of_context(name: str) -> Endpoint:
    identity = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    store = _docker_folder() / "contexts"
    described = _json_in(store / "meta" / identity / "meta.json")
    if not described:
        names = [str(_json_in(path).get("Name")) for path in sorted(store.glob("meta/*/meta.json"))]
        raise EngineError(
            f'Docker context "{name}": found none of that name in {store}, '
            f"expected one of {', '.join([_DEFAULT_CONTEXT, *names])}",
            hint="`unset DOCKER_CONTEXT`, or choose one that is there with `docker context use NAME`",
        )
    place = (described.get("Endpoints") or {}).get("docker") or {}
    files = _tls_files(store / "tls" / identity / "docker", verify=not place.get("SkipTLSVerify"))
    secured = not files.verify or files.ca or files.certificate
    return Endpoint(address=str(place.get("Host") or _LOCAL), tls=files if secured else None)


def _tls_files(folder: Path, *, verify: bool) -> _TLSFiles:
    present = {name: folder / name for name in ("ca.pem", "cert.pem", "key.pem") if (folder / name).is_file()}
    return _TLSFiles(
        ca=present.get("ca.pem"),
        certificate=present.get("cert.pem"),
        key=present.get("key.pem"),
        verify=verify,
    )


def _docker_folder() -> Path:
    """The folder of Docker's client configuration; it need not exist."""
    # the function, since Path.expanduser raises for a user without a home
    return Path(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))  # noqa: PTH111


def _current_context() -> str:
    return str(_json_in(_docker_folder() / "config.json").get("currentContext") or "")


def _json_in(path: Path) -> Mapping[str, Any]:
    """The object in a file; empty where there is none, as docker itself goes on without it."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
    return {}


# --- reaching it --------------------------------------------------------------------------------------------


_COMPOSE_COMMANDS = (("docker", "compose"), ("docker-compose",))


def _version_of(argv: tuple[str, ...]) -> str:
    """What `argv version --short` prints; empty when there is no such command."""
    try:
        return process.capture([*argv, "version", "--short"], timeout=_PROGRAM_TIMEOUT).stdout.strip()
    except ProgramError:
        return ""


def _client(found: Endpoint, version: str) -> docker.DockerClient:
    """A client that has sent nothing yet."""
    files = found.tls
    tls: docker.tls.TLSConfig | bool = False
    if files is not None:
        pair = (str(files.certificate), str(files.key)) if files.certificate and files.key else None
        ca = str(files.ca) if files.ca else None
        tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=files.verify)
    address = _relay() if found.address.startswith("ssh:") else found.address
    client = docker.DockerClient(base_url=address, tls=tls, timeout=TIMEOUT, version=version)
    client.api.trust_env = not _THIS_MACHINE.fullmatch(urlsplit(address).hostname or "localhost")
    return client


@cache
def _relay() -> str:
    """A socket behind which `docker` itself connects to its engine: it knows ssh with all its settings."""
    folder = Path(tempfile.mkdtemp(prefix="paddock-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "engine"))
    listener.listen()

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            argv = ["docker", "system", "dial-stdio"]
            threading.Thread(target=process.serve, args=(argv, connection), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return f"unix://{folder}/engine"


def _require_listener(where: str) -> None:
    """Raise OSError when nothing listens at a socket; the SDK says less, and leaves its own socket open."""
    if where.startswith("unix:"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect("/" + where.removeprefix("unix:").lstrip("/"))


def _no_engine(failure: BaseException) -> EngineError:
    where = f"Docker Engine at {address()}"
    kinds = {type(cause) for cause in causes(failure)}
    if PermissionError in kinds:
        return EngineError(
            f"{where}: permission denied for this user",
            hint="add yourself to the group docker (`sudo usermod -aG docker $USER`, then log in again), "
            "or use sudo",
        )
    if FileNotFoundError in kinds:
        if shutil.which("docker") is None and shutil.which("dockerd") is None:
            return EngineError(f"{where}: Docker is not installed", hint=_INSTALL_HINT)
        return EngineError(
            f"{where}: there is no engine; it is not started, or listens elsewhere",
            hint="start it (`sudo systemctl start docker`, or `make engine`), or set DOCKER_HOST",
        )
    if ConnectionRefusedError in kinds:
        return EngineError(
            f"{where}: the engine does not answer: connection refused",
            hint="start it (`sudo systemctl start docker`), or correct DOCKER_HOST",
        )
    reason = str(failure).removeprefix("Error while fetching server API version: ")
    return EngineError(
        f"{where}: no usable answer: {reason}", hint="`docker version` shows what docker itself says"
    )
