"""What unit tests get: an engine that only answers, programs of their own, a reporter that records."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_engine import FakeEngine, inspected, serving
from paddock import engine
from recording import Recorder


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine at DOCKER_HOST, for the test to fill."""
    with serving() as (fake, address):
        monkeypatch.setenv("DOCKER_HOST", address)
        yield fake


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Make a program out of a shell script; PATH has nothing else but what a shell needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    engine.compose_argv.cache_clear()
    engine.require_buildx.cache_clear()
    yield make
    engine.compose_argv.cache_clear()
    engine.require_buildx.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a stack without services, outside any workspace."""
    path = tmp_path / "srv" / "cpu"
    path.mkdir(parents=True)
    (path / "compose.yaml").write_text("services: {}\n")
    return path


@pytest.fixture
def describe() -> Callable[..., dict[str, Any]]:
    """Describe a container as `docker inspect` does; see `fake_engine.inspected`."""
    return inspected


@pytest.fixture
def report() -> Recorder:
    """A Reporter that keeps what it is told."""
    return Recorder()
