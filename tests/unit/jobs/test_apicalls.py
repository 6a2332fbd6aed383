"""What an answer of the pipeline API means for a task."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from apicalls import Apis, meaning
from failures import Away, GiveUp, Killed, TaskFailed, Unanswered
from job_stack import PagesApi, pdf, say

DOCUMENT = base64.b64encode(pdf(1, 1)).decode()


@pytest.fixture
def api() -> Iterator[PagesApi]:
    made = PagesApi()
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("status", "retry_after", "kind", "after"),
    [
        (400, "", GiveUp, 0),
        (413, "", GiveUp, 0),
        (422, "", GiveUp, 0),
        (408, "", Unanswered, 0),
        (500, "", Unanswered, 0),
        (504, "", Unanswered, 0),
        (429, "7", Away, 7),
        (503, "", Away, 5),
        (503, "3600", Away, 60),
        (503, "Thu, 01 Jan 1970", Away, 5),
        (502, "", Away, 5),
        (401, "", Away, 60),
    ],
)
def test_statuses(status: int, retry_after: str, kind: type[TaskFailed], after: float) -> None:
    meant = meaning(status, "why", retry_after)
    assert type(meant) is kind
    assert meant.after == after
    assert "why" in str(meant)


def test_an_api_that_is_not_there() -> None:
    for url in ("http://127.0.0.1:9", "http://nowhere.invalid:8080"):
        with pytest.raises(Away):
            asyncio.run(Apis(url, "").ask("/layout-parsing", {}))


def test_an_api_that_ends(api: PagesApi) -> None:
    api.before = lambda asked: asked.reset()
    with pytest.raises(Killed, match="the pipeline API ended"):
        asyncio.run(Apis(api.url, "").ask("/layout-parsing", {"file": DOCUMENT}))


@pytest.mark.parametrize("status", [422, 500])
def test_reasons_reach_the_client(api: PagesApi, status: int) -> None:
    api.before = lambda asked: asked.refuse(status, "the page is upside down")
    with pytest.raises(TaskFailed, match="the page is upside down"):
        asyncio.run(Apis(api.url, "").ask("/layout-parsing", {"file": DOCUMENT}))


def test_an_api_that_refuses_without_reading_has_not_ended() -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args: object) -> None:
            """Keep the test output quiet."""

        def handle_expect_100(self) -> bool:
            self.close_connection = True
            say(self, 503, {"errorMsg": "40 requests are open"}, Retry_After="3")
            return False

        def do_POST(self) -> None:
            self.close_connection = True  # what is sent meets a closed connection
            say(self, 503, {"errorMsg": "40 requests are open"}, Retry_After="3")

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        with pytest.raises(Away, match="40 requests are open") as away:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            asyncio.run(Apis(url, "").ask("/", {"file": "x" * 20_000_000}))
    finally:
        server.shutdown()
        server.server_close()
    assert away.value.after == 3
