"""The sources of weights as one server that misbehaves on request, and what obtains sets from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from paddock.matrix.records import WeightSet
from paddock.weights import carrying, fetching
from paddock.weights.download import Patience, open_session
from paddock.weights.installing import Outcome
from recording import Recorder
from weight_sources import BadServer, Sets
from weights_directory import VLM, Carry, Fetch


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
def session() -> Iterator[requests.Session]:
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


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def fetch(server: BadServer, report: Recorder, hasty: Patience, models_dir: Path, sets: type[Sets]) -> Fetch:
    """Fetch the VLM, or the sets that are named, from `server`."""

    def call(*chosen: WeightSet, to: Path = models_dir, **options: Any) -> tuple[Outcome, ...]:
        return fetching.fetch(
            chosen or (sets.vlm,),
            models_dir=to,
            report=report,
            endpoints=server.endpoints,
            patience=hasty,
            **options,
        )

    return call


@pytest.fixture
def carry(report: Recorder, models_dir: Path, sets: type[Sets]) -> Carry:
    """Carry in the VLM, or the sets that are named, from a place."""

    def call(carried: Path, *chosen: WeightSet, **options: bool) -> tuple[Outcome, ...]:
        return carrying.carry(
            chosen or (sets.vlm,), carried=carried, models_dir=models_dir, report=report, **options
        )

    return call


@pytest.fixture
def fetched(fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path) -> Path:
    """A models directory with a VLM and a layout model."""
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.serve_bos("PP-DocLayoutV3", sets.tar(sets.layout_files, "PP-DocLayoutV3_infer/"))
    fetch(sets.vlm, sets.layout)
    return models_dir
