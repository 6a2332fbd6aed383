"""Figures of a worker, and the number of pages in each answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import door
from limits import Limits, Refusal
from metrics import Metrics
from recycling import Recycling, Turn
from turns import Request

LIMITS = Limits(parallel_requests=1, waiting_requests=1, max_bytes=1000, max_pages=9, max_pixels=1, timeout=2)


async def ready() -> tuple[bool, dict[str, Any]]:
    return True, {"ready": True}


async def three_pages(request: Request, body: bytes) -> list[bytes]:
    with request.timed("draw"):
        await asyncio.sleep(0.01)
    request.pages = 3
    return [b"{}"]


async def refused(request: Request, body: bytes) -> list[bytes]:
    raise Refusal(422, "no document")


class Worker:
    """The application as serve.py puts it together."""

    def __init__(self, folder: Path, operation: Any = three_pages, *, published: bool = False) -> None:
        self.recycling = Recycling(memory=0, pages=0, drain=0.0, turn=Turn(folder, "one"))
        metrics = Metrics(self.recycling)
        operations = {"/work": operation}
        app = door.Door(
            LIMITS,
            hosts=(),
            keys=None,
            operations=metrics.counting(operations),
            readiness=ready,
            description=b"{}",
        )
        self.app = metrics.around(app, operations, published=published)

    def ask(self, path: str, method: str = "POST") -> tuple[int, dict[str, str], str]:
        sent: list[dict[str, Any]] = []
        pieces = [{"type": "http.request", "body": b"{}", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if pieces:
                return pieces.pop()
            await asyncio.sleep(3600)
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"api"), (b"content-type", b"application/json")]
        scope = {"type": "http", "path": path, "method": method, "headers": headers}
        asyncio.run(self.app(scope, receive, send))
        named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], named, b"".join(part["body"] for part in sent[1:]).decode()

    def figures(self) -> dict[str, float]:
        status, headers, text = self.ask("/metrics", "GET")
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


def test_what_a_request_counts(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    status, headers, _ = worker.ask("/work")
    assert (status, headers["x-pages"]) == (200, "3")
    worker.ask("/work")
    figures = worker.figures()
    assert figures['paddock_api_requests_total{path="/work",status="200"}'] == 2
    assert figures["paddock_api_pages_total"] == worker.recycling.pages == 6
    assert figures['paddock_api_stage_seconds_count{stage="draw"}'] == 2
    assert figures['paddock_api_stage_seconds_sum{stage="whole"}'] >= 0.02
    assert figures["paddock_api_open_requests"] == 0
    assert figures["paddock_api_memory_bytes"] > 1_000_000
    assert figures["paddock_api_recyclings_total"] == 0


def test_failures_by_kind(tmp_path: Path) -> None:
    worker = Worker(tmp_path, refused)
    assert worker.ask("/work")[1]["x-pages"] == "0"
    worker.ask("/work", "GET")
    figures = worker.figures()
    assert figures['paddock_api_failures_total{kind="refused"}'] == 2
    assert figures['paddock_api_requests_total{path="/work",status="405"}'] == 1


def test_paths_of_strangers_make_no_figures(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    assert worker.ask("/etc/passwd")[0] == 404
    assert not [name for name in worker.figures() if "passwd" in name]


def test_a_worker_that_was_recycled_says_how_often(tmp_path: Path) -> None:
    Turn(tmp_path, "one").note()
    assert Worker(tmp_path).figures()["paddock_api_recyclings_total"] == 1


def test_where_keys_are_asked_for_figures_are_not_shown(tmp_path: Path) -> None:
    assert Worker(tmp_path, published=True).ask("/metrics", "GET")[0] == 404
