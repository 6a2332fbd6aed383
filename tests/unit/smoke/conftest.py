"""A pipeline API on 127.0.0.1, and a `docker` that prints what our questions would print."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

FakeDocker = Callable[..., Path]
ServeApi = Callable[..., AbstractContextManager[str]]


@contextmanager
def serve(markdown: dict[int, list[str]] | None, *, model: str = "M", notice: str = "") -> Iterator[str]:
    """A pipeline API that answers these pages: key 1 an image, 0 a PDF; None: 500 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            """Keep the output of the tests quiet."""

        def do_GET(self) -> None:
            self.answer(200, {"ready": True, "model": model, "reason": "", "notice": notice})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if markdown is None:
                self.answer(500, {"logId": "1", "errorCode": 500, "errorMsg": "Internal server error"})
                return
            pages = markdown[request["fileType"]]
            results = [{"prunedResult": {}, "markdown": {"text": text, "images": {}}} for text in pages]
            result = {"layoutParsingResults": results, "dataInfo": {"numPages": len(pages)}}
            self.answer(200, {"logId": "1", "errorCode": 0, "errorMsg": "Success", "result": result})

        def answer(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def api() -> ServeApi:
    """Serve a pipeline API; see `serve`."""
    return serve


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    """A `docker` that checks its arguments, keeps the request in a file and prints `lines`."""

    def install(lines: list[str], *, status: int = 0) -> Path:
        request = tmp_path / "request.json"
        answers = tmp_path / "answers"
        answers.write_text("".join(f"{line}\n" for line in lines))
        program = tmp_path / "docker"
        program.write_text(
            f"#!{sys.executable}\n"
            "import sys\n"
            "assert sys.argv[1:6] == ['exec', '--interactive', 'box', 'python', '-c'], sys.argv\n"
            "compile(sys.argv[6], 'questions', 'exec')\n"
            f"open({str(request)!r}, 'w').write(sys.stdin.readline())\n"
            f"sys.stdout.write(open({str(answers)!r}).read())\n"
            f"sys.exit({status})\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return request

    return install
