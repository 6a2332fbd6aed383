"""What the benchmarks share: the stacks to compare, and the book of figures that is printed at the end."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from paddock import paths, process
from paddock.building import settings
from paddock.building.settings import BuildSettings
from paddock.matrix.images import stack_images
from paddock.matrix.load import load_registry
from paddock.matrix.records import Stack
from programs import PADDOCK, run
from repository import REPOSITORY

from . import images
from .figures import Book
from .images import HERE, Pair, Say
from .stacks import Service

TARGET = "cpu"
OUT = REPOSITORY / "out" / "bench"
QUIET_LOAD = 0.5  # running processes a core, before the run; above it something else is at work
_book_key = pytest.StashKey[Book]()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much is measured; variables of the environment change it for a trial."""

    pages: int = int(os.environ.get("BENCH_PAGES") or 16)
    concurrency: int = int(os.environ.get("BENCH_CONCURRENCY") or 8)
    rounds: int = int(os.environ.get("BENCH_ROUNDS") or 3)
    starts: int = int(os.environ.get("BENCH_STARTS") or 2)
    port: int = int(os.environ.get("BENCH_PORT") or 8090)  # and the one after it

    @property
    def summary(self) -> str:
        pages = f"{self.pages} pages at concurrency {self.concurrency}"
        return f"{pages}, {self.rounds} rounds; {self.starts} starts"


@pytest.fixture(scope="session")
def plan() -> Plan:
    return Plan()


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Say:
    """Progress, past pytest's capture: a run takes many minutes."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    return lambda text: reporter.write_line(f"bench: {text}")


@pytest.fixture(scope="session")
def book(pytestconfig: pytest.Config, stack: Stack, build_settings: BuildSettings, plan: Plan) -> Book:
    """The run's figures."""
    weights = _weights(stack, build_settings.models_dir)
    test_weights = not weights or any((path / "TEST_WEIGHTS.md").is_file() for path in weights)
    facts = {
        **circumstances(),
        "weights": "test weights: real programs, small random models" if test_weights else "as fetched",
        "plan": plan.summary,
    }
    book = Book(folder=OUT, circumstances=facts)
    pytestconfig.stash[_book_key] = book
    return book


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, after everything else."""
    if book := config.stash.get(_book_key, None):
        show(terminalreporter, book, "ours against upstream's way (medians of one run, side by side)")


def show(terminalreporter: pytest.TerminalReporter, book: Book, title: str) -> None:
    """Print a book that has figures, and where it was written."""
    if not book.figures:
        return
    terminalreporter.section(title)
    for line in book.table():
        terminalreporter.write_line(line)
    for name, value in book.circumstances.items():
        terminalreporter.write_line(f"{name}: {value}")
    terminalreporter.write_line(f"written: {book.folder / 'bench.md'}, {book.folder / 'bench.json'}")


@pytest.fixture(scope="session")
def stack() -> Stack:
    return load_registry(paths.templates()).stack(target=TARGET)


@pytest.fixture(scope="session")
def build_settings() -> BuildSettings:
    return settings.build_settings(REPOSITORY, {})


@pytest.fixture(scope="session")
def our_images(stack: Stack, build_settings: BuildSettings, say: Say) -> Pair:
    return images.ours(stack, build_settings, say)


@pytest.fixture(scope="session")
def models_dir(stack: Stack, build_settings: BuildSettings, say: Say) -> Path:
    """The workspace's weights, or test weights made for this run where a set is missing."""
    if _weights(stack, build_settings.models_dir):
        return build_settings.models_dir
    made = OUT / "models"
    say(f"{build_settings.models_dir}: lacks weights of {stack.model.name}; making test weights in {made}")
    argv = [*PADDOCK, "models", "make-test", stack.model.name, "--to", str(made)]
    process.stream(argv, on_line=say)
    return made


@pytest.fixture(scope="session")
def our_service(our_images: Pair, build_settings: BuildSettings, models_dir: Path, plan: Plan) -> Service:
    """Our stack as rendered, under a project name and a port of its own."""
    return Service(
        project="paddock-bench-ours",
        file=REPOSITORY / "compose" / TARGET / "compose.yaml",
        port=plan.port,
        ready="/health/ready",
        environment={"MODELS_DIR": str(models_dir), "IMAGE_PREFIX": build_settings.image_prefix},
    )


def upstream_service(pair: Pair, models_dir: Path, plan: Plan) -> Service:
    """Upstream's stack of these two images."""
    return Service(
        project="paddock-bench-upstream",
        file=HERE / "upstream" / "compose.yaml",
        port=plan.port + 1,
        ready="/health",
        environment={"API_IMAGE": pair.api, "VLM_IMAGE": pair.vlm, "MODELS_DIR": str(models_dir)},
    )


def _weights(stack: Stack, models_dir: Path) -> list[Path]:
    """The weight sets of a stack in this folder; none unless all are there."""
    found = [models_dir / weights.name for image in stack_images(stack) for weights in image.weights]
    return found if all(path.is_dir() for path in found) else []


def circumstances() -> Mapping[str, str]:
    """Where and when a run was; whether its times can be believed."""
    load = os.getloadavg()[0]
    cores = os.cpu_count() or 1
    busy = "" if load <= QUIET_LOAD * cores else ", TOO HIGH: times and their ratios of this run mean nothing"
    return {
        "machine": f"{cores} cores ({_processor()}), {_memory() / 2**30:.0f} GiB, {platform.machine()}",
        "load before": f"{load:.2f} on {cores} cores{busy}",
        "engine": process.capture(["docker", "version", "--format", "{{.Server.Version}}"]).stdout.strip(),
        "commit": _commit(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _commit() -> str:
    described = run("git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--abbrev=12")
    return described.stdout.strip() or "unknown"
