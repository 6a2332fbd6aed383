"""A pipeline API, documents, and the operation and the command that parse them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.door import run
from paddock.parse.batch import Summary, parse_all
from paddock.parse.collecting import collect
from paddock.parse.wire import ParseOptions
from pipeline_api import Command, Faults, Maker, PipelineApi, Work, quick_client
from recording import Recorder


@pytest.fixture
def api() -> Iterator[PipelineApi]:
    server = PipelineApi()
    yield server
    server.stop()


@pytest.fixture
def faults() -> type[Faults]:
    return Faults


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def work(api: PipelineApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Run the operation in an empty folder, results in `out`."""
    monkeypatch.chdir(tmp_path)

    def parse(*paths: str, jobs: int = 4, force: bool = False, **options: bool) -> Summary:
        output = Path("out")
        collected = collect([Path(path) for path in paths], output=output)
        client = quick_client(api.url)
        return parse_all(
            collected.inputs,
            client=client,
            output=output,
            options=ParseOptions(**options),
            report=Recorder(),
            force=force,
            jobs=jobs,
        )

    return parse


@pytest.fixture
def command(api: PipelineApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in an empty folder and return its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDOCK_URL", api.url)

    def parse(*arguments: str) -> int:
        return run(["parse", *arguments, "-o", "out"])

    return parse
