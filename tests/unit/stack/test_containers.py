"""Reading containers from what the engine says about them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fake_engine import FakeEngine, inspected
from paddock import engine
from paddock.stack import containers
from paddock.stack.configuration import Published


def test_a_container_from_its_description() -> None:
    found = containers.read(
        inspected(
            HostConfig__PortBindings={
                "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
                "9/tcp": None,
            }
        )
    )
    assert (found.project, found.service, found.folder) == ("paddock-cpu", "vlm", "/srv/cpu")
    assert (found.state, found.health, found.health_message, found.restarts) == ("running", "healthy", "", 0)
    assert found.started == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)
    assert found.published == (Published(host="127.0.0.1", port=8080),)
    assert found.start_period == 600.0


def test_a_container_that_was_never_started_and_has_no_health_check() -> None:
    found = containers.read(
        inspected(State={"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}, Config={"Labels": None})
    )
    assert (found.state, found.health, found.started, found.project) == ("created", "", None, "")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("192.0.2.7", "http://192.0.2.7:8080"),
        ("::1", "http://[::1]:8080"),
    ],
)
def test_urls(host: str, url: str) -> None:
    bindings = {"8080/tcp": [{"HostIp": host, "HostPort": "8080"}]}
    published = containers.read(inspected(HostConfig__PortBindings=bindings))
    assert containers.url_of([replace(published, service="api")], "api") == url
    assert containers.url_of([published], "api") is None, (
        "a VLM server that is served alone is no pipeline API"
    )


def test_a_port_on_every_address_is_reached_where_the_engine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = {"8080/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    found = [replace(containers.read(inspected(HostConfig__PortBindings=bindings)), service="api")]
    assert containers.url_of(found, "api") == "http://127.0.0.1:8080"
    monkeypatch.setenv("DOCKER_HOST", "tcp://gpu-7:2375")
    assert containers.url_of(found, "api") == "http://gpu-7:8080"
    assert containers.url_of([containers.read(inspected())], "api") is None


def test_last_lines_leave_health_checks_out(fake_engine: FakeEngine) -> None:
    noise = b'INFO: 127.0.0.1:1 - "GET /health HTTP/1.0" 200 OK\n'
    text = b"one\n" + noise + b"two\n\n" + noise
    fake_engine.logs = b"".join([b"\x01\x00\x00\x00", len(text).to_bytes(4, "big"), text])
    fake_engine.containers = [inspected(Config__Tty=False)]
    client = engine.connect()
    assert containers.last_lines(client, containers.read(fake_engine.containers[0])) == ["one", "two"]
    client.close()
