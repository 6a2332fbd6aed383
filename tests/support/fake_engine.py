"""A Docker Engine for unit tests: an HTTP server on 127.0.0.1 that answers the few requests that we send."""

from __future__ import annotations

import json
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

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
    description = deepcopy(INSPECTED)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = description
        for parent in parents:
            section = section[parent]
        section[last] = value
    return description


class FakeEngine:
    """What the engine holds; tests fill it."""

    def __init__(self) -> None:
        self.version = "26.1.5+dfsg1"
        self.api_version = "1.45"
        self.architecture = "amd64"
        self.containers: list[dict[str, Any]] = []
        self.images: set[str] = set()
        self.volumes: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.memory_total = 24 * 2**30
        self.logs = b""
        self.files: dict[str, bytes] = {}  # of every container

    def answer(self, path: str) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        path = re.sub(r"^/v[0-9.]+", "", path)
        if path == "/version":
            versions = {"Version": self.version, "ApiVersion": self.api_version, "MinAPIVersion": "1.24"}
            return 200, {**versions, "Os": "linux", "Arch": self.architecture}
        if path == "/info":
            return 200, {"MemTotal": self.memory_total, "SystemTime": "2026-01-02T03:04:05.678901234Z"}
        if path == "/events":
            wanted = json.loads(parse_qs(query)["filters"][0])["event"]
            return 200, b"".join(
                json.dumps(event).encode() for event in self.events if event["Action"] in wanted
            )
        if path == "/containers/json":
            wanted = json.loads(parse_qs(query).get("filters", ["{}"])[0]).get("label", [])
            matching = [container for container in self.containers if self._has(container, wanted)]
            return 200, [self._listed(container) for container in matching]
        if path == "/volumes":
            return 200, {"Volumes": self.volumes}
        if match := re.fullmatch(r"/images/(.+)/json", path):
            return (200, {"Id": match[1]}) if match[1] in self.images else (404, {"message": "no such image"})
        if match := re.fullmatch(r"/containers/(\w+)/(json|logs|stats)", path):
            return self._container(match[1], match[2])
        if re.fullmatch(r"/containers/\w+/archive", path):
            return self._archive(parse_qs(query)["path"][0])
        return 404, {"message": f"{path}?{query}: not known to this engine"}

    def _container(self, identity: str, what: str) -> tuple[int, Any]:
        container = next((entry for entry in self.containers if entry["Id"] == identity), None)
        if container is None:
            return 404, {"message": "no such container"}
        if what == "stats":
            return 200, {"memory_stats": {"usage": 3 * 2**30, "stats": {"inactive_file": 2**30}}}
        return 200, container if what == "json" else self.logs

    def _archive(self, path: str) -> tuple[int, Any]:
        if path not in self.files:
            return 404, {"message": "no such file"}
        made = BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            member = tarfile.TarInfo(path.rpartition("/")[2])
            member.size = len(self.files[path])
            archive.addfile(member, BytesIO(self.files[path]))
        return 200, made.getvalue()

    @staticmethod
    def _has(container: dict[str, Any], wanted: list[str]) -> bool:
        labels = container["Config"]["Labels"]
        present = {*labels, *(f"{name}={value}" for name, value in labels.items())}
        return set(wanted) <= present

    @staticmethod
    def _listed(container: dict[str, Any]) -> dict[str, Any]:
        bindings = container["HostConfig"]["PortBindings"].values()
        ports = [int(binding["HostPort"]) for addresses in bindings for binding in addresses]
        return {"Id": container["Id"], "Ports": [{"PublicPort": port} for port in ports]}


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        """Keep the output of the tests quiet."""

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


@contextmanager
def serving() -> Iterator[tuple[FakeEngine, str]]:
    """Serve an engine; yields what it holds and the value of DOCKER_HOST that leads to it."""
    server = Server(("127.0.0.1", 0), Handler)
    server.engine = FakeEngine()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.engine, f"tcp://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()
