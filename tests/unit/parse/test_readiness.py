"""Asking a pipeline API whether it can answer."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from paddock.parse import readiness
from paddock.parse.readiness import Readiness


@contextmanager
def api(code: int, body: object, *, compressed: bool = False, pause: float = 0) -> Iterator[str]:
    """A pipeline API that answers /health/ready, with bytes as they are; `pause` is in seconds after each."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None: ...

        def do_GET(self) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code if self.path == "/health/ready" else 404)
            self.send_header("Content-Length", str(len(content)))
            if compressed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            with suppress(OSError):  # the client hangs up
                for at in range(0, len(content), 1 if pause else len(content)):
                    self.wfile.write(content[at : at + 1] if pause else content)
                    time.sleep(pause)

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


@pytest.mark.parametrize("attack", ["large", "compressed", "deep", "slow"])
def test_an_api_that_means_harm(attack: str) -> None:
    content = {
        "large": b'{"ready": true, "reason": "' + b"x" * (4 << 20) + b'"}',
        "compressed": gzip.compress(b"x" * (64 << 20)),
        "deep": b"[" * 200_000,
        "slow": b" " * 1000,
    }[attack]
    with api(200, content, compressed=attack == "compressed", pause=0.05 if attack == "slow" else 0) as url:
        began = time.monotonic()
        found = readiness.ask(url, timeout=0.5 if attack == "slow" else 30)
    assert not found.ready
    assert len(found.reason) < 300
    assert time.monotonic() - began < 20
