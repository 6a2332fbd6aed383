"""What the bundle benchmarks share: sample images, the bundles made of them, and a book of figures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from programs import PADDOCK

from ..conftest import OUT as BENCH_OUT
from ..conftest import circumstances, show
from ..figures import Book
from . import program, samples
from .program import Cost
from .samples import Samples, Say

OUT = BENCH_OUT / "bundles"
PEERS = ("zstd", "gzip", "skopeo", "sha256sum")
_book_key = pytest.StashKey[Book]()


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A bundle as `paddock export` left it, and what that cost."""

    folder: Path
    cost: Cost

    @property
    def parts(self) -> list[Path]:
        """The images, without documents."""
        return sorted(self.folder.glob("*.tar.[0-9][0-9][0-9]"))

    @property
    def size(self) -> int:
        """Bytes of its parts."""
        return sum(path.stat().st_size for path in self.parts)


@pytest.fixture(scope="session", autouse=True)
def peers() -> None:
    """The programs to compare with; a benchmark without them has measured nothing."""
    missing = [name for name in PEERS if shutil.which(name) is None]
    assert not missing, f"{', '.join(missing)}: not on PATH; Debian 13's packages have the same names"


@pytest.fixture(scope="session")
def book(pytestconfig: pytest.Config) -> Book:
    """This run's figures."""
    facts = {**circumstances(), "peers": ", ".join(_version(name) for name in PEERS)}
    book = Book(folder=OUT, circumstances=facts, peer="the peer")
    pytestconfig.stash[_book_key] = book
    return book


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, after everything else."""
    if book := config.stash.get(_book_key, None):
        show(
            terminalreporter,
            book,
            "bundles against docker save, zstd, gzip and skopeo (one run, side by side)",
        )


@pytest.fixture(scope="session")
def images(say: Say) -> Iterator[Samples]:
    with samples.made(OUT / "samples", say) as found:
        yield found


@pytest.fixture(scope="session")
def space() -> Iterator[Path]:
    """A folder for bundles and archives, empty at first and gone at the end."""
    folder = OUT / "space"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def full(images: Samples, space: Path, say: Say) -> Exported:
    """Both images that hold the same weights, as one full bundle."""
    return export(space / "full", images.pair, say=say)


def export(folder: Path, references: tuple[str, ...], *more: str | Path, say: Say) -> Exported:
    """Run `paddock export` on these images alone, as the peers do: without the tool's image."""
    say(f"paddock export of {', '.join(references)}")
    named = [word for reference in references for word in ("--image", reference)]
    cost = program.run([*PADDOCK, "export", *named, "--no-tool", "--output", folder, *more])
    return Exported(folder=folder, cost=cost)


def _version(name: str) -> str:
    printed = program.run([name, "--version"]).output.splitlines()[0]
    return printed.strip("* ")
