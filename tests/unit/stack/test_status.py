"""Reading what the engine and the pipeline API say about a stack."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from paddock import engine
from paddock.cli.operate import _duration, _machine
from paddock.parse import readiness
from paddock.parse.readiness import Readiness
from paddock.stack import containers, logs
from paddock.stack.configuration import Configuration, Published, Service
from paddock.stack.status import status_of, status_of_all, used_memory


@contextmanager
def api(code: int, body: object) -> Iterator[str]:
    """A pipeline API that answers /health/ready."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None: ...

        def do_GET(self) -> None:
            content = json.dumps(body).encode()
            self.send_response(code if self.path == "/health/ready" else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_api_that_is_ready() -> None:
    with api(200, {"ready": True, "model": "M", "reason": ""}) as url:
        assert readiness.ask(url) == Readiness(ready=True, model="M", reason="")


def test_an_api_with_test_weights() -> None:
    with api(200, {"ready": True, "model": "M", "reason": "", "test_weights": True}) as url:
        assert readiness.ask(url).test_weights


def test_an_api_whose_vlm_server_is_away() -> None:
    with api(503, {"ready": False, "model": "M", "reason": "the VLM server does not answer"}) as url:
        assert readiness.ask(url) == Readiness(
            ready=False, model="M", reason="the VLM server does not answer"
        )


def test_something_else_at_the_address() -> None:
    with api(200, ["hello"]) as url:
        found = readiness.ask(url)
    assert not found.ready
    assert "does not answer as a pipeline API" in found.reason


def test_nobody_at_the_address() -> None:
    with api(200, {}) as url:
        pass
    found = readiness.ask(url)
    assert found == Readiness(ready=False, model="", reason="the pipeline API does not listen yet")


# --- containers ---------------------------------------------------------------------------------------------


def test_a_container_from_its_description(describe) -> None:
    found = containers.read(
        describe(
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


def test_a_container_that_was_never_started_and_has_no_health_check(describe) -> None:
    found = containers.read(
        describe(State={"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}, Config={"Labels": None})
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
def test_urls(describe, host: str, url: str) -> None:
    bindings = {"8080/tcp": [{"HostIp": host, "HostPort": "8080"}]}
    published = containers.read(describe(HostConfig__PortBindings=bindings))
    assert containers.url_of([replace(published, service="api")]) == url
    assert containers.url_of([published]) is None, "a VLM server that is served alone is no pipeline API"


def test_a_port_on_every_address_is_reached_where_the_engine_is(describe, monkeypatch) -> None:
    bindings = {"8080/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    found = [replace(containers.read(describe(HostConfig__PortBindings=bindings)), service="api")]
    assert containers.url_of(found) == "http://127.0.0.1:8080"
    monkeypatch.setenv("DOCKER_HOST", "tcp://gpu-7:2375")
    assert containers.url_of(found) == "http://gpu-7:8080"
    assert containers.url_of([containers.read(describe())]) is None


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({"memory_stats": {"usage": 100, "stats": {"inactive_file": 30}}}, 70),
        ({"memory_stats": {"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 30}}}, 60),
        ({"memory_stats": {"usage": 10, "stats": {"inactive_file": 30}}}, 0),
        ({"memory_stats": {}}, None),
        ({}, None),
    ],
)
def test_memory_in_use(stats, expected: int | None) -> None:
    assert used_memory(stats) == expected


# --- stacks -------------------------------------------------------------------------------------------------


def test_a_stack_without_pipeline_api_is_ready_when_it_is_healthy(fake_engine, describe) -> None:
    fake_engine.containers = [describe()]
    client = engine.connect()
    (found,) = status_of_all(client)
    assert (found.project, found.ready, found.reason, found.url) == ("paddock-cpu", True, "", None)
    (vlm,) = found.services
    assert (vlm.memory, vlm.memory_limit) == (2 * 2**30, 8 * 2**30)
    assert vlm.labels["backend"] == "vllm"
    assert vlm.packages == {}  # this engine runs nothing
    assert status_of_all(client, project="another") == ()
    client.close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"State__Status": "exited", "State__ExitCode": 1}, "vlm is exited"),
        ({"State__Status": "restarting", "State__OOMKilled": True}, "vlm is restarting (out of memory)"),
        ({"State__Health": {"Status": "starting"}}, "vlm: not healthy"),
    ],
)
def test_why_a_stack_cannot_answer(fake_engine, describe, changes, reason: str) -> None:
    fake_engine.containers = [describe(**changes)]
    client = engine.connect()
    (found,) = status_of_all(client)
    assert (found.ready, found.reason) == (False, reason)
    client.close()


def test_services_that_are_not_there(fake_engine, describe) -> None:
    def expected(name: str) -> Service:
        return Service(
            name=name,
            image="i",
            pull_policy="",
            published=(),
            binds=(),
            environment={},
            memory=None,
            start_period=0,
        )

    configuration = Configuration(project="paddock-cpu", services=(expected("api"), expected("vlm")))
    client = engine.connect()
    nothing = status_of(client, configuration, folder="/srv/cpu")
    assert (nothing.ready, nothing.reason, nothing.folder) == (False, "it is not started", "/srv/cpu")
    assert [each.state for each in nothing.services] == ["absent", "absent"]
    fake_engine.containers = [describe()]
    half = status_of(client, configuration, folder="/srv/cpu")
    assert (half.ready, half.reason) == (False, "api is absent")
    assert set(_machine(nothing)) == {
        "project",
        "folder",
        "url",
        "ready",
        "reason",
        "model",
        "test_weights",
        "notice",
        "services",
    }
    client.close()


def test_last_lines_leave_health_checks_out(fake_engine, describe) -> None:
    noise = b'INFO: 127.0.0.1:1 - "GET /health HTTP/1.0" 200 OK\n'
    text = b"one\n" + noise + b"two\n\n" + noise
    fake_engine.logs = b"".join([b"\x01\x00\x00\x00", len(text).to_bytes(4, "big"), text])
    fake_engine.containers = [describe(Config__Tty=False)]
    client = engine.connect()
    assert containers.last_lines(client, containers.read(fake_engine.containers[0])) == ["one", "two"]
    client.close()


# --- showing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0s"), (59.9, "59s"), (200, "3m 20s"), (3600, "1h 0m"), (90_000, "1d 1h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert _duration(seconds) == text


def test_arguments_of_logs() -> None:
    assert logs.arguments([], follow=False, tail=None, since=None) == ["logs", "--no-color", "--"]
    assert logs.arguments(["api"], follow=True, tail="5", since="10m") == [
        "logs",
        "--no-color",
        "--follow",
        "--tail",
        "5",
        "--since",
        "10m",
        "--",
        "api",
    ]
