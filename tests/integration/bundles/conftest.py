"""Site engines without a network, one of each store, shared by the tests that leave nothing in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from site_engine import Load, SiteEngine, site_engine
from site_host import Site


@pytest.fixture(scope="session", params=["classic", "containerd"])
def site(request: pytest.FixtureRequest) -> Iterator[SiteEngine]:
    """A running engine of each store; a test that uses it runs twice."""
    with site_engine(request.param, in_memory=True) as engine:
        yield engine


@pytest.fixture
def load(site: SiteEngine) -> Iterator[Load]:
    """`docker load` small images; every image of the engine goes after the test."""
    yield site.load
    site.remove_images()


@pytest.fixture
def host(site: SiteEngine, tmp_path: Path) -> Iterator[Site]:
    """A host with that engine and a state folder of its own; the engine is emptied after the test."""
    made = Site(engine=site, state=tmp_path / "state")
    yield made
    made.clear()
