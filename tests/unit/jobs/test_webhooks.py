"""Webhooks: only named hosts, signed, repeated until they are taken."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import webhooks
from job_stack import POSTGRES, JobService, PagesApi, pdf
from limits import Refusal
from links import Allowed

Start = Callable[..., tuple[JobService, PagesApi]]


def test_only_named_hosts() -> None:
    allowed = Allowed.read(("hooks.example", "inner.example:8443"))
    webhooks.require("https://hooks.example/done?x=1", allowed)
    webhooks.require("https://inner.example:8443/", allowed)
    for url, said in (
        (
            "https://other.example/",
            "webhookUrl: other.example:443 is not among the hosts that JOBS_",
        ),
        ("https://inner.example/", "webhookUrl: inner.example:443 is not among the hosts"),
        ("ftp://hooks.example/", "webhookUrl: found a link with ftp:"),
        ("https://a:b@hooks.example/", "webhookUrl: found a link with a user name or password"),
    ):
        with pytest.raises(Refusal) as refused:
            webhooks.require(url, allowed)
        assert refused.value.status == 400
        assert refused.value.reason.startswith(said)


@pytest.mark.needs(POSTGRES)
def test_an_end_is_told_until_it_is_taken(start: Start) -> None:
    calls: list[tuple[dict[str, str], bytes]] = []
    taken = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            """Keep the test output quiet."""

        def do_POST(self) -> None:
            calls.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            if len(calls) == 1:  # a redirect is no answer, and is not followed
                self.send_response(302)
                self.send_header("Location", "/elsewhere")
            else:
                self.send_response(204)
                taken.set()
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    host = f"127.0.0.1:{server.server_address[1]}"
    try:
        service, _ = start("api", "worker", "solo", JOBS_WEBHOOKS=host, JOBS_WEBHOOK_WAIT_SECONDS="1")
        job = service.accepted(pdf(1, 2), webhookUrl=f"http://{host}/done", batchId="b")
        assert taken.wait(60)
    finally:
        server.shutdown()
        server.server_close()
    assert len(calls) == 2
    headers, body = calls[1]
    time, _, signature = headers["X-Paddock-Signature"].removeprefix("t=").partition(",v1=")
    key = bytes.fromhex((service.folder / "webhook-key").read_text())
    assert hmac.new(key, time.encode() + b"." + body, hashlib.sha256).hexdigest() == signature
    assert headers["X-Paddock-Delivery"] == f"{job}-2"
    told = json.loads(body)
    assert (told["jobId"], told["state"], told["batchId"]) == (job, "done", "b")
    assert (told["cancelled"], told["errorMsg"], told["totalPages"]) == (False, None, 2)
    figures = 'paddock_jobs_webhooks_total{outcome="taken"} 1.0'
    service.wait_for(lambda: figures in service.ask("GET", "/metrics").text)
