"""The real thing, once for all tests here: built images, test weights, a workspace, and one stack that runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paddock import __version__
from repository import REPOSITORY

PADDOCK = (sys.executable, "-m", "paddock")
COMMAND_LIMIT = 900  # seconds; a model server starts within two minutes on a busy machine
BUILD_LIMIT = 3000
IMAGES = tuple(f"paddock/cpu-{name}:{__version__}" for name in ("api", "vllm", "llama.cpp"))


def docker(*arguments: str, check: bool = True) -> str:
    """What a docker command prints."""
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=check, timeout=COMMAND_LIMIT
    ).stdout


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """A workspace with rendered stacks and weights, in which the real program is run."""

    root: Path
    models: Path
    prefix: str  # of its images
    version: str = __version__

    def environment(self, **more: str) -> dict[str, str]:
        keep = {
            name: value
            for name, value in os.environ.items()
            if name not in ("API_PORT", "PADDOCK_URL", "RUN_AS")
        }
        return {
            **keep,
            "PADDOCK_ROOT": str(self.root),
            "MODELS_DIR": str(self.models),
            "IMAGE_PREFIX": self.prefix,
            **more,
        }

    def paddock(self, *arguments: str | Path, limit: float = COMMAND_LIMIT, **more: str) -> Any:
        """Run `paddock`; its exit status and output."""
        return subprocess.run(
            [*PADDOCK, *map(str, arguments)],
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    def start(self, *arguments: str | Path, **more: str) -> subprocess.Popen[str]:
        """Start `paddock` and leave it running."""
        return subprocess.Popen(
            [*PADDOCK, *map(str, arguments)],
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """The stack that all tests share, as `paddock up` left it."""

    project: str
    port: int
    url: str
    shop: Workshop
    up: Any  # the finished `paddock up`

    def container(self, service: str) -> str:
        """Its id now."""
        return containers_of(self.project, service)[0]

    def inspect(self, service: str) -> dict[str, Any]:
        return dict(json.loads(docker("inspect", self.container(service)))[0])

    def health(self, service: str) -> str:
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def parse(self, *files: Path, to: Path, limit: float = COMMAND_LIMIT) -> Any:
        return self.shop.paddock("parse", *files, "--output", to, "--url", self.url, "--force", limit=limit)


def containers_of(project: str, service: str = "") -> list[str]:
    """Ids of a project's containers, running or not."""
    filters = ["--filter", f"label=com.docker.compose.project={project}"]
    if service:
        filters += ["--filter", f"label=com.docker.compose.service={service}"]
    return docker("ps", "--all", "--quiet", *filters).split()


def remove_project(project: str) -> None:
    """Remove whatever a test left of a project."""
    if left := containers_of(project):
        docker("rm", "--force", "--volumes", *left, check=False)
    of_project = ["--quiet", "--filter", f"label=com.docker.compose.project={project}"]
    for kind in ("network", "volume"):
        if found := docker(kind, "ls", *of_project).split():
            docker(kind, "rm", *found, check=False)


def wait_until(true: Callable[[], bool], what: str, limit: float = 300) -> None:
    """Wait until something is so; the limit is generous, because a machine may be busy."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, f"after {limit:.0f} s still not so: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="session")
def images() -> tuple[str, ...]:
    """All images of the cpu target, as they are in this working tree; unchanged steps come from the build
    cache.
    """
    for backend in ("vllm", "llama.cpp"):
        built = subprocess.run(
            [*PADDOCK, "build", "cpu", "--backend", backend], cwd=REPOSITORY, timeout=BUILD_LIMIT, check=False
        )
        assert built.returncode == 0, f"paddock build cpu --backend {backend} failed"
    return IMAGES


@pytest.fixture(scope="session")
def stack_prefix(images: tuple[str, ...]) -> Iterator[str]:
    """Names of our own for the images, so that a build elsewhere on this engine does not change them under
    us.
    """
    own = f"paddock-test-stack-{os.getpid()}/"
    tags = [(image, image.replace("paddock/", own)) for image in images]
    for image, tag in tags:
        docker("tag", image, tag)
    yield own
    docker("image", "rm", *(tag for _, tag in tags), check=False)


@pytest.fixture(scope="session")
def shop(stack_prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A copy of the committed stacks beside test weights."""
    root = tmp_path_factory.mktemp("workshop")
    for name in ("images", "compose"):
        shutil.copytree(REPOSITORY / name, root / name)
    for folder in (root, *root.parents):  # pytest makes its folders private, containers run as other users
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    made = subprocess.run(
        [
            *PADDOCK,
            "models",
            "make-test",
            "paddleocr-vl-1.6",
            "--to",
            str(root / "models"),
            "--image",
            f"{stack_prefix}cpu-api:{__version__}",
        ],
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return Workshop(root=root, models=root / "models", prefix=stack_prefix)


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def stack(shop: Workshop) -> Iterator[Running]:
    """One stack for all tests, run by a user that no image knows."""
    project, port = f"paddock-test-{os.getpid()}", _free_port()
    _set(shop.root / "compose/cpu/.env", RUN_AS="12345:0", API_PORT=str(port))
    up = shop.paddock("up", "cpu", "--project", project)
    try:
        assert up.returncode == 0, up.stderr
        running = Running(project=project, port=port, url=f"http://127.0.0.1:{port}", shop=shop, up=up)
        # `up` is done with the first page, which may be a few seconds before the engine's next health check
        wait_until(
            lambda: running.health("api") == running.health("vlm") == "healthy", "both containers are healthy"
        )
        yield running
    finally:
        shop.paddock("down", "cpu", "--project", project, "--volumes")
        remove_project(project)


@pytest.fixture
def project() -> Iterator[str]:
    """The name of a second stack; whatever is left of it goes after the test."""
    name = f"paddock-second-{os.getpid()}"
    yield name
    remove_project(name)


@pytest.fixture(scope="session")
def engine_cli() -> Callable[..., str]:
    """Run `docker`."""
    return docker


def _set(file: Path, **values: str) -> None:
    lines = [line for line in file.read_text().splitlines() if line.partition("=")[0] not in values]
    file.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in values.items())]) + "\n")


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def ids_of() -> Callable[..., list[str]]:
    return containers_of
