"""What HAProxy is started with, and when it is not started at all."""

from __future__ import annotations

import re

import pytest

import certificates
import supervise
from certificates import Certificate
from limits import Limits
from repository import REPOSITORY

DOOR = REPOSITORY / "templates/image/door"
OWN = Certificate(path=certificates.OWN, fingerprint="AA", ends="some day")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_BIND", "DOOR_TLS", "DOOR_NAMES", "DOOR_JOBS", *supervise.NUMBERS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VLM_PORT", "8080")
    monkeypatch.setenv("VLM_HEALTH", "/health")


def test_haproxy_gets_every_variable_that_its_files_name() -> None:
    text = (DOOR / "haproxy.cfg").read_text() + (DOOR / "body.lua").read_text()
    named = set(re.findall(r"\$\{([A-Z_]+)\}|env\(([A-Z_]+)\)|getenv\(\"([A-Z_]+)\"\)", text))
    asked = {name for groups in named for name in groups if name}
    given = supervise.variables(OWN)
    assert asked == set(given) - {"PATH"}


def test_numbers_of_the_stack_reach_haproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PARALLEL_REQUESTS", "3")
    monkeypatch.setenv("DOOR_QUEUE", "8")
    monkeypatch.setenv("API_MAX_SECONDS", "600")
    given = supervise.variables(None)
    assert (given["WORKER_SLOTS"], given["QUEUE_MOST"], given["QUEUE_BUSY"]) == ("3", "8", "6")
    assert given["ANSWER_SECONDS"] == "630", "a worker says by itself that it took too long"
    assert (given["DOOR_TLS"], given["CERTIFICATE"]) == ("off", "")


def test_a_body_may_be_as_large_as_a_worker_takes() -> None:
    assert supervise.variables(OWN)["BODY_BYTES"] == str(Limits().max_body)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_number_that_is_none_ends_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_QUEUE", value)
    with pytest.raises(SystemExit, match=f"DOOR_QUEUE={value}: found no whole number above 0, such as 32"):
        supervise.variables(OWN)


@pytest.mark.parametrize("bind", ["", "127.0.0.1", "127.0.0.2", "localhost", "[::1]"])
def test_plain_http_is_for_this_host_only(bind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_BIND", bind)
    assert supervise.uses_tls()
    monkeypatch.setenv("DOOR_TLS", "off")
    assert not supervise.uses_tls()


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.7", "ocr.example"])
def test_plain_http_is_refused_beyond_it(bind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_BIND", bind)
    monkeypatch.setenv("DOOR_TLS", "off")
    with pytest.raises(SystemExit, match=r"expected 127\.0\.0\.1: keys must not cross a network"):
        supervise.uses_tls()


def test_a_word_that_is_neither_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_TLS", "no")
    with pytest.raises(SystemExit, match="DOOR_TLS=no: expected on or off"):
        supervise.uses_tls()


def test_names_for_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_NAMES", "OCR.example, 192.0.2.7")
    assert supervise.names() == ("ocr.example", "192.0.2.7")
