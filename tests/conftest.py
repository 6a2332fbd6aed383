"""Rules for every test: which need an engine, which run side by side, and how long they took."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

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
LANES = ("engine-1", "engine-2")  # of tests that use engines
# Bundles have private engines. On the host's engine, which the first lane uses, the second one has
# projects and names of images of its own.
SECOND_LANE = (TESTS / "integration" / "bundles", TESTS / "integration" / "embedded")
IN_FIRST_LANE = {"test_air_gap.py"}  # it takes as long as half of the other bundles
IN_SECOND_LANE = {"test_jobs.py", "test_parsers.py", "test_site.py", "test_weights_at_start.py"}
LONGEST_FILES = 25  # shown
ENGINE_ANSWERS_WITHIN = 60  # seconds; an engine that just started is slow


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--run-gpu`: this machine has an NVIDIA card, and the tests in tests/gpu are to be run on it.

    `--durations-to FILE`: how long each test took, as tab-separated values, and a table of the longest files.
    """
    parser.addoption("--durations-to", type=Path, metavar="FILE", help="write how long each test took")
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything that NEEDS_ENGINE `engine`, so that nobody can forget to.

    With `-n`, the two lanes of tests that use engines come first: they take longest, and the files of the
    other tests fill the time that one of them leaves.
    """
    for item in items:
        if any(folder in item.path.parents for folder in NEEDS_ENGINE):
            item.add_marker("engine")
    if hasattr(config, "workerinput"):  # a process of pytest-xdist
        lanes = {item: lane(item.path) for item in items}
        items.sort(key=lambda item: LANES.index(lanes[item]) if lanes[item] in LANES else len(LANES))


def lane(path: Path) -> str:
    """The lane of a test file: one of the two that use engines, else a lane of its own."""
    if not any(folder in path.parents for folder in NEEDS_ENGINE):
        return str(path)
    second = any(folder in path.parents for folder in SECOND_LANE) and path.name not in IN_FIRST_LANE
    return LANES[second or path.name in IN_SECOND_LANE]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, run the tests of one lane one after the other, in one process."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - asked for only where it is there

    class Lanes(LoadScopeScheduling):  # type: ignore[misc] # it has no types
        def _split_scope(self, nodeid: str) -> str:
            return lane(config.rootpath / nodeid.partition("::")[0])

    return Lanes(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs what is missing here is skipped, but fails where everything was promised."""
    why = engine_trouble() if item.get_closest_marker("engine") is not None else ""
    needed = [name for marker in item.iter_markers("needs") for name in marker.args]
    if missing := [name for name in needed if not is_here(name)]:
        why = f"found no {', '.join(missing)}; scripts/setup/test-programs.sh installs what tests need"
    if why and engine_required():
        pytest.fail(why, pytrace=False)
    if why:
        pytest.skip(why)


def is_here(name: str) -> bool:
    """Whether a program is on PATH, or a path is there."""
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None


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
        return "no Docker Engine: there is no docker on PATH"
    except subprocess.TimeoutExpired:
        return f"no Docker Engine: docker gave no answer in {ENGINE_ANSWERS_WITHIN} s"
    return (
        ""
        if asked.returncode == 0
        else asked.stderr.strip() or f"docker version: exit status {asked.returncode}"
    )


class Durations:
    """How long each test took, setting up and tidying up included: node id -> seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write one file with every test and one with the sums of files; show the longest files."""
        by_file: dict[str, list[float]] = {}
        for name, seconds in self.seconds.items():
            by_file.setdefault(name.partition("::")[0], []).append(seconds)
        files = sorted(
            ((sum(each_test), len(each_test), file) for file, each_test in by_file.items()), reverse=True
        )
        tests = sorted(((seconds, name) for name, seconds in self.seconds.items()), reverse=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(f"{seconds:.2f}\t{name}\n" for seconds, name in tests), "utf-8")
        lines = "".join(f"{seconds:.1f}\t{count}\t{file}\n" for seconds, count, file in files)
        self.path.with_stem(f"{self.path.stem}-by-file").write_text(lines, "utf-8")
        terminalreporter.section(f"longest files ({self.path} has every test)")
        for seconds, count, file in files[:LONGEST_FILES]:
            terminalreporter.line(f"{seconds:8.1f} s  {count:4d} tests  {file}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Have durations written where `--durations-to` asks for it; a process of pytest-xdist only reports."""
    path = config.getoption("--durations-to")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Durations(path))


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
