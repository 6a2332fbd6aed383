"""Asking a pipeline API whether it can answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from paddock.parse import readiness
from paddock.parse.readiness import Readiness


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
