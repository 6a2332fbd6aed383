"""Connections: waits that end at once, proxies, and why no answer came."""

from __future__ import annotations

import threading

import pytest

from paddock.errors import Interrupted, PaddockError, UnreachableError
from paddock.parse.client import Client
from paddock.parse.document import inspect
from paddock.parse.wire import ParseOptions
from pipeline_api import Maker, PipelineApi, failure, parse, quick_client
from programs import free_port


def test_nobody_listens(make: Maker) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    client = Client(url, timeout=60)
    with pytest.raises(UnreachableError) as caught:
        client.parse(inspect(make.image("a.png")), ParseOptions())
    assert caught.value.message == f"{url}: no pipeline API answers there: Connection refused"
    assert "`paddock up`" in caught.value.hint


def test_a_slow_server(api: PipelineApi, make: Maker) -> None:
    api.answer = api.hold
    error = failure(api, make.image("a.png"), timeout=0.2)
    assert error.message == f"{api.url}: no answer within 0.2 s"
    assert "--timeout" in error.hint
    assert len(api.requests) == 1


def test_abort_ends_a_wait_in_another_thread(api: PipelineApi, make: Maker) -> None:
    api.answer = api.hold
    caught: list[BaseException] = []

    def work() -> None:
        try:
            client.parse(document, ParseOptions())
        except PaddockError as error:
            caught.append(error)

    document = inspect(make.image("a.png"))
    client = quick_client(api.url)
    worker = threading.Thread(target=work)
    worker.start()
    assert api.received.acquire(timeout=30)
    client.abort()
    worker.join(30)
    assert not worker.is_alive()
    assert isinstance(caught[0], Interrupted)
    with pytest.raises(Interrupted):  # and nothing starts after it
        client.parse(document, ParseOptions())


def test_a_proxy_is_not_asked_about_this_machine(
    api: PipelineApi, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert len(parse(api, make.image("a.png")).pages) == 1


def test_a_proxy_that_does_not_answer_is_named(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = Client("http://pipeline.invalid", timeout=60)
    with pytest.raises(UnreachableError) as caught:
        client.check_health()
    assert "the proxy did not connect" in caught.value.message
    assert "NO_PROXY" in caught.value.hint
