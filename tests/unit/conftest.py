"""An engine for tests: a real HTTP server on 127.0.0.1 that answers the few requests of Docker's API that we
send.
"""

from __future__ import annotations

import json
import re
import stat
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from paddock import engine

INSPECTED: dict[str, Any] = {
    "Id": "a" * 64,
    "Name": "/paddock-cpu-vlm-1",
    "RestartCount": 0,
    "Config": {
        "Image": "paddock/cpu-vllm:0.1.0",
        "Labels": {
            "com.docker.compose.project": "paddock-cpu",
            "com.docker.compose.service": "vlm",
            "com.docker.compose.project.working_dir": "/srv/cpu",
            "io.paddock.target": "cpu",
            "io.paddock.backend": "vllm",
            "org.opencontainers.image.version": "0.1.0",
        },
        "Healthcheck": {"StartPeriod": 600_000_000_000},
    },
    "HostConfig": {"Memory": 8 * 2**30, "PortBindings": {}},
    "State": {
        "Status": "running",
        "ExitCode": 0,
        "OOMKilled": False,
        "Error": "",
        "StartedAt": "2026-01-02T03:04:05.123456789Z",
        "Health": {"Status": "healthy", "Log": [{"ExitCode": 0, "Output": ""}]},
    },
}


def inspected(**changes: Any) -> dict[str, Any]:
    """A container as `docker inspect` describes it; `State__Status="exited"` changes what is in State."""
    found = deepcopy(INSPECTED)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = found
        for parent in parents:
            place = place[parent]
        place[last] = value
    return found


class FakeEngine:
    """What the engine knows; tests fill it."""

    def __init__(self) -> None:
        self.version = "26.1.5+dfsg1"
        self.api_version = "1.45"
        self.containers: list[dict[str, Any]] = []
        self.images: set[str] = set()
        self.volumes: list[dict[str, Any]] = []
        self.memory_total = 24 * 2**30
        self.logs = b""

    def answer(self, path: str) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        path = re.sub(r"^/v[0-9.]+", "", path)
        if path == "/version":
            return 200, {"Version": self.version, "ApiVersion": self.api_version, "MinAPIVersion": "1.24"}
        if path == "/info":
            return 200, {"MemTotal": self.memory_total}
        if path == "/containers/json":
            wanted = json.loads(parse_qs(query).get("filters", ["{}"])[0]).get("label", [])
            return 200, [self._listed(each) for each in self.containers if self._has(each, wanted)]
        if path == "/volumes":
            return 200, {"Volumes": self.volumes}
        if found := re.fullmatch(r"/images/(.+)/json", path):
            return (200, {"Id": found[1]}) if found[1] in self.images else (404, {"message": "no such image"})
        if found := re.fullmatch(r"/containers/(\w+)/(json|logs|stats)", path):
            return self._one(found[1], found[2])
        return 404, {"message": f"{path}?{query}: not known to this test"}

    def _one(self, identity: str, what: str) -> tuple[int, Any]:
        each = next((each for each in self.containers if each["Id"] == identity), None)
        if each is None:
            return 404, {"message": "no such container"}
        if what == "stats":
            return 200, {"memory_stats": {"usage": 3 * 2**30, "stats": {"inactive_file": 2**30}}}
        return 200, each if what == "json" else self.logs

    @staticmethod
    def _has(each: dict[str, Any], wanted: list[str]) -> bool:
        labels = each["Config"]["Labels"]
        return all(
            label in labels or f"{label.partition('=')[0]}={labels.get(label.partition('=')[0])}" == label
            for label in wanted
        )

    @staticmethod
    def _listed(each: dict[str, Any]) -> dict[str, Any]:
        bindings = [one for some in each["HostConfig"]["PortBindings"].values() for one in some]
        return {"Id": each["Id"], "Ports": [{"PublicPort": int(one["HostPort"])} for one in bindings]}


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        """Keep the test output quiet."""

    def do_GET(self) -> None:
        status, answer = self.server.engine.answer(self.path)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()


class Server(ThreadingHTTPServer):
    engine: FakeEngine
    daemon_threads = True


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine at DOCKER_HOST."""
    server = Server(("127.0.0.1", 0), Handler)
    server.engine = FakeEngine()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
    yield server.engine
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Make a program on PATH out of a shell script; nothing else is on PATH but what a shell needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    engine.compose_argv.cache_clear()
    engine.require_buildx.cache_clear()
    yield make
    engine.compose_argv.cache_clear()
    engine.require_buildx.cache_clear()


@pytest.fixture
def describe() -> Callable[..., dict[str, Any]]:
    """Make a container's description."""
    return inspected


class Recorder:
    """A Reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, message: str, /) -> None:
        self.said.append(message)

    def warn(self, message: str, /) -> None:
        self.warned.append(message)

    def progress(self, label: str, **_options: object) -> Any:
        raise AssertionError(f"no progress display is wanted here: {label}")


@pytest.fixture
def report() -> Recorder:
    return Recorder()
