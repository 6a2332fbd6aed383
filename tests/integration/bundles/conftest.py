"""Site engines without a network, one of each store, shared by the tests that leave nothing in them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from site_engine import SiteEngine, site_engine
from site_host import Site
from small_images import SmallImage, archive


@pytest.fixture(scope="session", params=["classic", "containerd"])
def site(request: pytest.FixtureRequest) -> Iterator[SiteEngine]:
    """A running engine of each store; a test that uses it runs twice."""
    with site_engine(request.param, in_memory=True) as engine:
        yield engine


@pytest.fixture
def load(site: SiteEngine) -> Iterator[Callable[[Sequence[SmallImage]], None]]:
    """`docker load` small images; every image of the engine goes after the test."""

    def into_engine(images: Sequence[SmallImage]) -> None:
        argv = ["docker", "load", "--quiet"]
        environment = {**os.environ, **site.environment()}
        subprocess.run(
            argv, input=archive(images), env=environment, capture_output=True, check=True, timeout=300
        )

    yield into_engine
    if left := site.docker("images", "--all", "--quiet").split():
        site.docker("image", "rm", "--force", *left, check=False)


@pytest.fixture
def host(site: SiteEngine, tmp_path: Path) -> Iterator[Site]:
    """A host with that engine, and a state folder of its own; nothing is left in the engine after the test."""
    found = Site(engine=site, state=tmp_path / "state")
    yield found
    found.clear()
