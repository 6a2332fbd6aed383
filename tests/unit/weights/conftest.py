"""The sources of weights as one server that misbehaves on request, and a reporter that remembers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from paddock.weights.download import Patience, open_session
from weight_sources import BadServer, Sets


class Recorder:
    """A Reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.bars: list[tuple[str, int | None, int]] = []  # label, total, where it ended

    def say(self, message: str, /) -> None:
        self.lines.append(message)

    def warn(self, message: str, /) -> None:
        self.warnings.append(message)

    @contextmanager
    def progress(self, label: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[object]:
        assert unit == "bytes"
        at = done

        def advance(amount: int, /) -> None:
            nonlocal at
            at += amount

        try:
            yield advance
        finally:
            self.bars.append((label, total, at))


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between a test and its server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT", "PADDOCK_BOS_ENDPOINT", "MODELS_DIR", "CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[BadServer]:
    running = BadServer()
    yield running
    running.close()


@pytest.fixture
def session() -> Iterator[object]:
    with open_session() as opened:
        yield opened


@pytest.fixture
def report() -> Recorder:
    return Recorder()


@pytest.fixture
def sets() -> type[Sets]:
    return Sets


@pytest.fixture
def hasty() -> Patience:
    """Few attempts, almost no waiting; the timeouts stay generous."""
    return Patience(attempts=4, first_attempts=2, backoff=0.01, longest_wait=1.0)
