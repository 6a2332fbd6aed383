"""One PostgreSQL for all tests of the jobs service; each service has a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from job_stack import JobService, PagesApi, Postgres, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private cluster."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture
def start(tmp_path: Path, postgres: Postgres) -> Iterator[Callable[..., tuple[JobService, PagesApi]]]:
    """Starts programs of a jobs service; what was started ends with the test."""
    with ExitStack() as stack:
        count = iter(range(100))

        def begin(*roles: str, **settings: str) -> tuple[JobService, PagesApi]:
            folder = tmp_path / str(next(count))
            return stack.enter_context(running(folder, postgres, *roles, settings=settings))

        yield begin
