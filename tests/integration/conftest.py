"""What all tests here share: built images, test weights, a workspace, and one stack that runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

import programs
from compose_projects import remove_project
from paddock import __version__
from programs import PADDOCK, docker, paddock, succeeded, wait_until
from repository import REPOSITORY
from workshop import RunningStack, Workshop, open_to_other_users, set_variables

BUILD_LIMIT = 3000.0  # seconds
IMAGES = tuple(f"paddock/cpu-{name}:{__version__}" for name in ("api", "vllm", "llama.cpp"))


@pytest.fixture(scope="session")
def images() -> tuple[str, ...]:
    """All images of the cpu target, built from this working tree; the build cache makes that quick."""
    for backend in ("vllm", "llama.cpp"):
        build = (*PADDOCK, "build", "cpu", "--backend", backend)
        succeeded(programs.run(*build, cwd=REPOSITORY, limit=BUILD_LIMIT))
    return IMAGES


@pytest.fixture(scope="session")
def stack_prefix(images: tuple[str, ...]) -> Iterator[str]:
    """A prefix of our own for the images, so that a build elsewhere on this engine cannot change them."""
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
    open_to_other_users(root)
    made = Workshop(root=root, models=root / "models", prefix=stack_prefix)
    make = ("models", "make-test", "paddleocr-vl-1.6", "--to", made.models, "--image", made.image("cpu-api"))
    succeeded(paddock(*make))
    return made


@pytest.fixture(scope="session")
def site_images() -> str:
    """The prefix of the images of a site, built from this working tree."""
    succeeded(programs.run(*PADDOCK, "build", "site", cwd=REPOSITORY, limit=BUILD_LIMIT))
    return os.environ.get("IMAGE_PREFIX", "paddock/")


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    return programs.free_port()


@pytest.fixture(scope="session")
def stack(shop: Workshop) -> Iterator[RunningStack]:
    """One stack for all tests, run by a user that no image knows."""
    project, port = f"paddock-test-{os.getpid()}", programs.free_port()
    set_variables(shop.root / "compose/cpu/.env", RUN_AS="12345:0", API_PORT=str(port))
    up = shop.paddock("up", "cpu", "--project", project)
    try:
        succeeded(up)
        running = RunningStack(project=project, port=port, shop=shop, up=up)
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
