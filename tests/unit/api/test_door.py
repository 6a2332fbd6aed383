"""Who is let in, how much at once, and what others are answered: the application itself, without a server."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import door
from keys import Keys
from limits import Limits, Refusal
from turns import Request

LIMITS = Limits(parallel_requests=1, waiting_requests=1, max_bytes=1000, max_pages=1, max_pixels=1, timeout=2)
JSON = {"content-type": "application/json", "host": "localhost:8080"}


async def ready() -> tuple[bool, dict[str, Any]]:
    return False, {"ready": False, "reason": "no model"}


async def echo(request: Request, body: bytes) -> list[bytes]:
    return [b'{"length":', str(len(body)).encode(), b"}"]


def made(operation: Any = echo, *, keys: Keys | None = None, hosts: tuple[str, ...] = ()) -> door.Door:
    return door.Door(
        LIMITS, hosts=hosts, keys=keys, operations={"/work": operation}, readiness=ready, description=b"{}"
    )


class Client:
    """One request: what it sends, and what it was answered."""

    def __init__(self, *pieces: bytes, stays: bool = True) -> None:
        self.pieces = list(pieces) or [b"{}"]
        self.stays = stays
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        if self.pieces:
            piece = self.pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}
        if self.stays:
            await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]

    async def ask(
        self, app: door.Door, path: str = "/work", method: str = "POST", headers: Mapping[str, str] = JSON
    ) -> int:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "path": path, "method": method, "headers": raw}
        await app(scope, self.receive, self.send)
        assert int(self.headers["content-length"]) == len(self.body)
        return self.status


def asked(app: door.Door, *pieces: bytes, **more: Any) -> Client:
    client = Client(*pieces)
    asyncio.run(client.ask(app, **more))
    return client


def test_an_answer_comes_whole() -> None:
    client = asked(made(), b"ab", b"c")
    assert (client.status, client.body) == (200, b'{"length":3}')


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic c2VjcmV0Og=="}, 401),
        ({"authorization": "secret"}, 401),
        ({"x-api-key": ""}, 401),
        ({"authorization": "Bearer secret"}, 200),
        ({"authorization": "bearer  secret "}, 200),
        ({"x-api-key": "secret"}, 200),
    ],
)
def test_a_key_is_asked_for(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    (tmp_path / "keys").write_text(f"sha256:{hashlib.sha256(b'secret').hexdigest()} ward\n")
    client = asked(made(keys=Keys(tmp_path / "keys")), headers={**JSON, **headers})
    assert client.status == status
    assert status == 200 or client.headers["www-authenticate"] == "Bearer"


def test_a_file_of_keys_that_is_not_there_lets_nobody_in(tmp_path: Path) -> None:
    assert asked(made(keys=Keys(tmp_path / "keys")), headers={**JSON, "x-api-key": ""}).status == 401
    health = asked(made(keys=Keys(tmp_path / "keys")), path="/health", method="GET")
    assert health.status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("api:8080", 200),
        ("192.168.1.5:8080", 200),
        ("[::1]:8080", 200),
        ("ocr.example", 200),
        ("OCR.example.", 200),
        ("evil.example", 421),
        ("ocr.example.evil.example", 421),
        ("192.168.1.5.evil.example", 421),
        ("a b", 400),
        ("", 400),
        ("localhost:8080@evil.example", 400),
    ],
)
def test_names_of_the_service(host: str, status: int) -> None:
    assert asked(made(hosts=("ocr.example",)), headers={**JSON, "host": host}).status == status


def test_any_name_where_that_is_wanted() -> None:
    assert asked(made(hosts=("*",)), headers={**JSON, "host": "evil.example"}).status == 200


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"path": "/nothing"}, 404),
        ({"path": "/health"}, 405),
        ({"method": "GET"}, 405),
        ({"path": "/health/ready", "method": "GET"}, 503),
        ({"headers": {"host": "a"}}, 415),
        ({"headers": {**JSON, "content-encoding": "gzip"}}, 415),
        ({"headers": {**JSON, "content-length": "99999999"}}, 413),
        ({"headers": {**JSON, "content-length": "many"}}, 413),
    ],
)
def test_what_is_refused_unread(more: dict[str, Any], status: int) -> None:
    async def never(request: Request, body: bytes) -> list[bytes]:
        raise AssertionError

    assert asked(made(never), **more).status == status


def test_a_body_that_never_ends_is_cut_off() -> None:
    client = asked(made(), *[bytes(100_000)] * 100)
    assert client.status == 413
    assert client.headers["connection"] == "close"


def test_refusals_and_failures_are_answers() -> None:
    async def refuses(request: Request, body: bytes) -> list[bytes]:
        raise Refusal(422, "no \ud800 document")

    async def fails(request: Request, body: bytes) -> list[bytes]:
        raise ZeroDivisionError

    refused = asked(made(refuses))
    assert (refused.status, json.loads(refused.body)["errorCode"]) == (422, 422)
    failed = asked(made(fails))
    assert (failed.status, json.loads(failed.body)["errorMsg"]) == (500, "Internal server error")


def test_too_many_are_told_when_to_come_again_and_later_ones_are_served() -> None:
    async def run() -> None:
        go = asyncio.Event()

        async def waits(request: Request, body: bytes) -> list[bytes]:
            await go.wait()
            return [b"{}"]

        app = made(waits)
        clients = [Client() for _ in range(4)]
        tasks = [asyncio.ensure_future(client.ask(app)) for client in clients]
        await asyncio.gather(*tasks[2:])
        assert [client.status for client in clients[2:]] == [503, 503]
        assert clients[3].headers["retry-after"]
        go.set()
        assert await asyncio.gather(*tasks[:2]) == [200, 200]
        assert await Client().ask(app) == 200

    asyncio.run(run())


def test_who_goes_away_is_not_worked_for() -> None:
    async def run() -> list[str]:
        said: list[str] = []

        async def works(request: Request, body: bytes) -> list[bytes]:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                said.append("stopped")
                raise
            return []

        app = made(works)
        assert await Client(stays=False).ask(app) == 499
        assert await Client(stays=False).ask(app) == 499  # the place is free again
        return said

    assert asyncio.run(run()) == ["stopped", "stopped"]


def test_time_is_limited() -> None:
    async def works(request: Request, body: bytes) -> list[bytes]:
        await asyncio.sleep(3600)
        return []

    client = asked(made(works))
    assert client.status == 504
    assert "API_MAX_SECONDS" in json.loads(client.body)["errorMsg"]
