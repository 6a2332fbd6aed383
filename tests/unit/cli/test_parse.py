"""`paddock parse`: which pipeline API it takes when none is named, and its defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fake_engine import FakeEngine
from paddock.cli.parse import default_url, parse
from paddock.errors import UsageError
from paddock.parse.batch import DEFAULT_JOBS
from paddock.parse.client import DEFAULT_TIMEOUT

Describe = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_PORT", raising=False)


def api(describe: Describe, project: str, port: str, number: str) -> dict[str, Any]:
    """A running pipeline API; the test's engine is at 127.0.0.1."""
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": "api",
        "io.paddock.target": "cpu",
    }
    bindings = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}
    return describe(Id=number * 64, Config__Labels=labels, HostConfig__PortBindings=bindings)


def test_without_an_engine_the_usual_port() -> None:
    assert default_url() == "http://127.0.0.1:8080"


def test_the_only_one_that_runs(fake_engine: FakeEngine, describe: Describe) -> None:
    assert default_url() == "http://127.0.0.1:8080"
    stopped = api(describe, "stopped", "8085", "c")
    stopped["State"]["Status"] = "exited"
    fake_engine.containers = [api(describe, "one", "8081", "b"), stopped]
    assert default_url() == "http://127.0.0.1:8081"


def test_api_port_goes_before_what_runs(
    fake_engine: FakeEngine, describe: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engine.containers = [api(describe, "one", "8081", "b")]
    monkeypatch.setenv("API_PORT", "8090")
    assert default_url() == "http://127.0.0.1:8090"


def test_of_several_the_one_at_the_usual_port_else_none(fake_engine: FakeEngine, describe: Describe) -> None:
    fake_engine.containers = [api(describe, "one", "8080", "b"), api(describe, "two", "8081", "c")]
    assert default_url() == "http://127.0.0.1:8080"
    fake_engine.containers = [api(describe, "one", "8082", "b"), api(describe, "two", "8081", "c")]
    with pytest.raises(UsageError, match=r"8082, http://127\.0\.0\.1:8081"):
        default_url()


def test_the_defaults_are_those_of_the_operation() -> None:
    """They are spelt out in the command, which loads the operation only when it runs."""
    defaults = {parameter.name: parameter.default for parameter in parse.params}
    assert (defaults["jobs"], defaults["timeout"]) == (DEFAULT_JOBS, DEFAULT_TIMEOUT)
