"""A container registry on this machine: tokens, lists, single images, refusals, silence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

DIGEST = "sha256:" + "a1" * 32  # of open/both and token/both
LIST = {"manifests": [{"platform": {"os": "linux", "architecture": name}} for name in ("amd64", "arm64")]}
ATTESTED = {"manifests": [*LIST["manifests"][:1], {"platform": {"os": "unknown", "architecture": "unknown"}}]}


class Registry(BaseHTTPRequestHandler):
    """Repositories open/both, open/one, open/attested; token/both, which wants a token; the rest by name."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/token":
            wanted = "service=here&scope=repository%3Atoken%2Fboth%3Apull"
            self._json({"token": "let me in"} if query == wanted else {}, 200 if query == wanted else 400)
        elif path == "/v2/token/both/manifests/1.0" and self.headers["Authorization"] != "Bearer let me in":
            challenge = f'Bearer realm="http://{self.headers["Host"]}/token",service="here",scope="repository:token/both:pull"'
            self._json({}, 401, {"WWW-Authenticate": challenge})
        elif path in ("/v2/open/both/manifests/1.0", "/v2/token/both/manifests/1.0"):
            assert "image.index" in self.headers["Accept"]
            self._json(LIST, 200, {"Docker-Content-Digest": DIGEST})
        elif path == "/v2/open/attested/manifests/1.0":
            self._json(ATTESTED, 200)
        elif path == "/v2/open/one/manifests/1.0":
            self._json({"config": {"digest": "sha256:c"}}, 200)
        elif path == "/v2/open/one/blobs/sha256:c":
            self._json({"os": "linux", "architecture": "arm64"}, 200)
        elif path == "/v2/odd/odd/manifests/1.0":
            self._json([1], 200)
        else:
            status = {"closed": 403, "busy": 429, "broken": 503}.get(path.split("/")[2], 404)
            self._json({}, status)

    def _json(self, body: object, status: int, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="package")
def registry_address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="package")
def registry_digest() -> str:
    """What it says of open/both and token/both."""
    return DIGEST
