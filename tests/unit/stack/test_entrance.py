"""Where a stack is asked, with and without a door, and what is trusted there."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fake_engine import FakeEngine, inspected
from paddock import engine
from paddock.engine import docker
from paddock.errors import UsageError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.stack import containers, entrance
from paddock.stack.configuration import Bind, Published
from paddock.stack.containers import Container
from paddock.stack.folder import StackFolder
from stack_records import configuration, service

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
FINGERPRINT = hashlib.sha256(ssl.PEM_cert_to_DER_cert(PEM)).hexdigest()
API = replace(containers.read(inspected()), service="api", published=())
DOOR = replace(
    API,
    service="door",
    labels=FrozenDict({"io.paddock.tls": "on"}),
    published=(
        Published(host="127.0.0.1", port=8405, inside=8405),
        Published(host="127.0.0.1", port=8443, inside=8080),
    ),
)


@pytest.fixture
def client(fake_engine: FakeEngine) -> Iterator[docker.DockerClient]:
    with closing(engine.connect()) as connected:
        yield connected


def test_without_a_door_it_is_the_api(client: docker.DockerClient) -> None:
    published = replace(API, published=(Published(host="127.0.0.1", port=8080, inside=8080),))
    assert entrance.url_of(client, [published]) == "http://127.0.0.1:8080"
    assert entrance.url_of(client, [API]) is None


def test_with_a_door_it_is_the_door_and_the_certificate_that_it_shows(
    client: docker.DockerClient, fake_engine: FakeEngine
) -> None:
    with_door: list[Container] = [API, API, DOOR]
    assert entrance.url_of(client, with_door) == "https://127.0.0.1:8443", "it has no certificate yet"
    fake_engine.files = {"/var/lib/door/certificate.pem": PEM.encode()}
    assert entrance.url_of(client, with_door) == f"https://127.0.0.1:8443#sha256={FINGERPRINT}"
    assert entrance.url_of(client, with_door, "vlm") is None


def test_a_door_without_tls(client: docker.DockerClient) -> None:
    plain = replace(DOOR, labels=FrozenDict({"io.paddock.tls": "off"}))
    assert entrance.url_of(client, [API, plain]) == "http://127.0.0.1:8443"


def test_whose_certificate_it_is() -> None:
    def certificate(source: str) -> str:
        bind = Bind.of(Path(source), entrance.CERTIFICATES)
        return entrance.certificate_of(
            "https://127.0.0.1:8443#sha256=ab", configuration(service("door", binds=(bind,)))
        )

    assert certificate("/dev/null").startswith("SHA-256 ab, signed by the door itself")
    assert certificate("/etc/ssl/ocr") == "SHA-256 ab, the site's"
    assert entrance.certificate_of("http://127.0.0.1:8080", configuration()) == ""


def test_a_stack_is_handled_as_it_was_started(tmp_path: Path) -> None:
    folder = StackFolder(path=tmp_path, name="cpu")
    assert entrance.as_started(folder, [API]) is folder
    with pytest.raises(UsageError, match=r"found no site\.yaml"):
        entrance.as_started(folder, [DOOR])
    (tmp_path / "site.yaml").touch()
    (tmp_path / "compose.yaml").touch()
    started = entrance.as_started(folder, [API, DOOR])
    assert started.environment == {"COMPOSE_FILE": "compose.yaml:site.yaml"}
