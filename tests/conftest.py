"""Rules for every test: which need an engine, what happens without one, and that unit tests cannot reach one."""

from __future__ import annotations

import functools
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are busy: an example may take long. The same examples in each run, and nothing kept on disk.
settings.register_profile(
    "paddock", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("paddock")

# What a shell starts in the background has SIGINT ignored, and so would have all that tests start and press
# Ctrl-C for.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
NEEDS_ENGINE = (TESTS / "integration", TESTS / "bench", TESTS / "gpu")
ENGINE_ANSWERS_WITHIN = 60  # seconds; an engine that just started is slow


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--run-gpu`: this machine has an NVIDIA card, and the tests in tests/gpu are to be run on it."""
    parser.addoption(
        "--run-gpu", action="store_true", help="run tests/gpu on the NVIDIA card of this machine"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """tests/gpu is not there without `--run-gpu`: a skipped test would look like one that could have run."""
    if collection_path == TESTS / "gpu" and not config.getoption("--run-gpu"):
        return True
    return None


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return TESTS.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything that NEEDS_ENGINE `engine`, so that nobody can forget to."""
    for item in items:
        if any(folder in item.path.parents for folder in NEEDS_ENGINE):
            item.add_marker("engine")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without an engine a test that needs one is skipped, but fails where an engine was promised."""
    if item.get_closest_marker("engine") is None:
        return
    why = engine_trouble()
    if not why:
        return
    if engine_required():
        pytest.fail(f"no Docker Engine: {why}", pytrace=False)
    pytest.skip(f"no Docker Engine: {why}")


def engine_required() -> bool:
    """CI and `make test` promise an engine: a missing one is a failure there."""
    return (
        os.environ.get("CI", "").lower() in {"1", "true"} or os.environ.get("PADDOCK_REQUIRE_ENGINE") == "1"
    )


@functools.cache
def engine_trouble() -> str:
    """Why no engine answers; empty when one does."""
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=ENGINE_ANSWERS_WITHIN,
            check=False,
        )
    except FileNotFoundError:
        return "there is no docker on PATH"
    except subprocess.TimeoutExpired:
        return f"docker gave no answer in {ENGINE_ANSWERS_WITHIN} s"
    return (
        ""
        if asked.returncode == 0
        else asked.stderr.strip() or f"docker version: exit status {asked.returncode}"
    )


@pytest.fixture(autouse=True)
def _no_engine_in_unit_tests(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tests/unit `docker` is a program that fails and the engine's address leads nowhere.

    A unit test that wants an engine's answers serves them itself, on a socket or with a program of its own on
    PATH.
    """
    if TESTS / "unit" not in request.path.parents:
        return
    nowhere = tmp_path_factory.mktemp("no-engine")
    program = nowhere / "docker"
    program.write_text("#!/bin/sh\necho 'a unit test ran docker' >&2\nexit 97\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{nowhere}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{nowhere}/docker.sock")
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
