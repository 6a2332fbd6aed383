"""The scan in continuous integration: it finds what the list does not know, and never passes without data."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from programs import Finished, run
from repository import REPOSITORY

SCRIPT = REPOSITORY / "scripts/maintain/scan-packages.py"
CANARY = {"requests==2.19.0": ["GHSA-x84v-xcm2-53pg"]}


@contextmanager
def database(
    known: Mapping[str, list[str]], aliases: Mapping[str, list[str]], *, short: int = 0
) -> Iterator[str]:
    """A database with these identifiers by package; answers `short` results too few."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            names = [f"{query['package']['name']}=={query['version']}" for query in asked]
            results = [
                {"vulns": [{"id": identifier} for identifier in known[name]]} if name in known else {}
                for name in names
            ]
            self._say({"results": results[: len(results) - short]})

        def do_GET(self) -> None:
            identifier = self.path.rpartition("/")[2]
            self._say({"id": identifier, "aliases": aliases.get(identifier, [])})

        def _say(self, answer: object) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scan(endpoint: str) -> Finished:
    return run(sys.executable, SCRIPT, environment={"OSV_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"})


def test_what_the_list_knows_under_another_name_is_not_new() -> None:
    known = {**CANARY, "diskcache==5.6.3": ["GHSA-disk"]}
    with database(known, {"GHSA-disk": ["CVE-2025-69872"]}) as endpoint:
        done = scan(endpoint)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "packages of" in done.stderr


def test_what_the_list_does_not_know_is_found() -> None:
    with database({**CANARY, "numpy==2.3.5": ["GHSA-new"]}, {"GHSA-new": ["CVE-2099-1"]}) as endpoint:
        done = scan(endpoint)
    assert done.returncode == 1
    assert "numpy==2.3.5: GHSA-new" in done.stdout.splitlines()
    assert "templates/advisories.yaml" in done.stderr


@pytest.mark.parametrize(("known", "short"), [({}, 0), (CANARY, 1)], ids=["without data", "cut"])
def test_an_answer_without_data_is_no_pass(known: Mapping[str, list[str]], short: int) -> None:
    with database(known, {}, short=short) as endpoint:
        done = scan(endpoint)
    assert (done.returncode, done.stdout) == (5, "")
    assert "nothing was compared" in done.stderr


def test_no_answer_is_no_pass() -> None:
    done = scan("http://127.0.0.1:9")
    assert done.returncode == 5
    assert "nothing was compared" in done.stderr
