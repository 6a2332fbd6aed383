"""Connecting to an engine, and what is said when there is none that will do."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_engine import FakeEngine
from paddock import engine
from paddock.engine import Release
from paddock.errors import EngineError

Program = Callable[[str, str], None]


def test_an_engine_that_answers(fake_engine: FakeEngine) -> None:
    client = engine.connect()
    assert client.version()["Version"] == fake_engine.version
    client.close()


@pytest.mark.parametrize("version", ["20.10.9", "19.03.15", "1.13.1"])
def test_an_old_engine_is_refused(fake_engine: FakeEngine, version: str) -> None:
    fake_engine.version = version
    with pytest.raises(
        EngineError, match=rf"found version {version}, expected 20\.10\.10 or later"
    ) as refused:
        engine.connect()
    assert refused.value.exit_code == 5
    assert refused.value.hint


def test_an_engine_that_runs_stacks_may_be_too_old_to_build(fake_engine: FakeEngine) -> None:
    fake_engine.version = "23.0.6"
    engine.connect().close()
    with pytest.raises(EngineError, match=r"found version 23\.0\.6, expected 24\.0\.0 or later"):
        engine.connect(minimum=engine.BUILDING_ENGINE)


@pytest.mark.parametrize("version", ["20.10.10", "20.10.24+dfsg1", "26.1.5+dfsg1", "29.0.0-rc.1", "dev"])
def test_engines_that_do(fake_engine: FakeEngine, version: str) -> None:
    fake_engine.version = version
    engine.connect().close()


def test_no_engine_at_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineError, match=r"none\.sock: there is no engine") as refused:
        engine.connect()
    assert "start it" in refused.value.hint


def test_docker_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="Docker is not installed") as refused:
        engine.connect()
    assert "install Docker Engine" in refused.value.hint


def test_an_engine_that_refuses_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(EngineError, match="connection refused"):
            engine.connect()


def test_a_socket_that_this_user_may_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:  # root may open every socket, so the refusal is made here
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(EngineError, match="permission denied for this user") as refused:
        engine.connect()
    assert "group docker" in refused.value.hint


@pytest.mark.parametrize(
    ("address", "local", "host"),
    [
        ("unix:///var/run/docker.sock", True, "127.0.0.1"),
        ("tcp://gpu-7:2375", False, "gpu-7"),
        ("ssh://me@gpu-7", False, "gpu-7"),
    ],
)
def test_where_containers_publish_their_ports(
    monkeypatch: pytest.MonkeyPatch, address: str, local: bool, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    assert engine.is_local() is local
    assert engine.host() == host


# --- compose and buildx -------------------------------------------------------------------------------------


def test_the_compose_plugin_is_taken(program: Program) -> None:
    program("docker", 'test "$1 $2" = "compose version" && echo 2.26.1')
    assert engine.compose_argv() == ("docker", "compose")


def test_the_standalone_compose_v2_is_taken(program: Program) -> None:
    program("docker", "echo \"docker: 'compose' is not a docker command.\" >&2; exit 1")
    program("docker-compose", "echo v2.24.0")
    assert engine.compose_argv() == ("docker-compose",)


def test_compose_v1_is_refused(program: Program) -> None:
    program("docker", "exit 1")
    program("docker-compose", "echo 1.29.2")
    with pytest.raises(
        EngineError, match=r"found `docker-compose` 1\.29\.2, expected version 2\.0\.0 or later"
    ):
        engine.compose_argv()


def test_no_compose_at_all(program: Program) -> None:
    program("docker", "exit 1")
    program("docker-compose", "exit 1")
    with pytest.raises(EngineError, match="found none"):
        engine.compose_argv()


def test_buildx_is_found(program: Program) -> None:
    program("docker", "echo github.com/docker/buildx v0.13.1 788433953af10f2a698f5c07611dddce2e08c7a0")
    assert engine.require_buildx() == "v0.13.1"


def test_buildx_is_missing(program: Program) -> None:
    program("docker", "echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1")
    with pytest.raises(EngineError, match="Docker Buildx: found none") as refused:
        engine.require_buildx()
    assert "buildx" in refused.value.hint


def test_releases_are_compared_as_numbers() -> None:
    texts = ("9.0", "v20.10.10", "20.10.9+dfsg1", "2.26.1-4")
    releases = [release for release in map(Release.of, texts) if release is not None]
    assert sorted(releases) == [releases[3], releases[0], releases[2], releases[1]]
    assert Release.of("dev") is None


# --- the engine that docker takes ---------------------------------------------------------------------------


@pytest.fixture
def docker_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of Docker's client configuration in a home of its own."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".docker"


def make_context(folder: Path, name: str, host: str, **endpoint: object) -> Path:
    """Store a context as `docker context create` does; returns the folder of its TLS files."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / identity / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host, **endpoint}}}))
    return folder / "contexts/tls" / identity / "docker"


def test_a_context_counts_without_a_config_file(docker_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`docker context create` writes none."""
    make_context(docker_folder, "far", "unix:///far.sock")
    assert engine.address() == "unix:///var/run/docker.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    assert engine.address() == "unix:///far.sock"
    with pytest.raises(EngineError, match=r"far\.sock"):
        engine.connect()
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert engine.address() == "unix:///var/run/docker.sock"


def test_the_current_context_counts_last(docker_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_context(docker_folder, "far", "unix:///far.sock")
    make_context(docker_folder, "other", "unix:///other.sock")
    (docker_folder / "config.json").write_text('{"currentContext": "far"}')
    assert engine.address() == "unix:///far.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert engine.address() == "unix:///other.sock"
    monkeypatch.setenv("DOCKER_HOST", "gpu-7:2375")
    assert engine.address() == "tcp://gpu-7:2375"


def test_another_folder_of_the_configuration(
    docker_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_context(tmp_path / "theirs", "far", "unix:///far.sock")
    (tmp_path / "theirs/config.json").write_text('{"currentContext": "far"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "theirs"))
    assert engine.address() == "unix:///far.sock"


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_config_file_that_is_none_is_passed_over(docker_folder: Path, text: str) -> None:
    """As docker itself does, with a warning."""
    docker_folder.mkdir()
    (docker_folder / "config.json").write_bytes(text.encode("latin-1"))
    assert engine.address() == "unix:///var/run/docker.sock"


def test_an_unknown_context_is_named(
    docker_folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("docker", "echo 2.26.1")
    make_context(docker_folder, "far", "unix:///far.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "fra")
    asked: list[Callable[[], object]] = [
        engine.connect,
        engine.compose_argv,
        engine.require_buildx,
        engine.host,
    ]
    for ask in asked:
        with pytest.raises(EngineError, match=r'context "fra": found none .*, expected one of default, far'):
            ask()


@pytest.mark.parametrize("host", ["tcp://[::1", "gopher://x", "tcp://x:port"])
def test_an_address_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EngineError, match=re.escape(f"Docker Engine at {host}: ")):
        engine.connect()


def test_the_tls_files_of_a_context(docker_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_context(docker_folder, "far", "tcp://gpu-7:2376", SkipTLSVerify=False)
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    assert engine.chosen().tls is None
    files.mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (files / name).touch()
    tls = engine.chosen().tls
    assert tls is not None
    assert (tls.ca, tls.certificate, tls.key, tls.verify) == (
        files / "ca.pem",
        files / "cert.pem",
        files / "key.pem",
        True,
    )


def test_the_tls_files_of_the_environment(docker_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_folder.mkdir()
    (docker_folder / "ca.pem").touch()
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    found = engine.chosen()
    assert found.address == "tcp://localhost:2376"
    assert found.tls is not None
    assert (found.tls.ca, found.tls.certificate, found.tls.verify) == (docker_folder / "ca.pem", None, True)


@pytest.mark.parametrize("proxy", ["socks5h://127.0.0.1:1", "http://127.0.0.1:1"])
def test_no_proxy_stands_before_an_engine_of_this_machine(
    fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = engine.connect()
    assert client.info()["MemTotal"] == fake_engine.memory_total
    client.close()


def test_an_engine_behind_ssh_is_reached_through_docker(
    fake_engine: FakeEngine, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker system dial-stdio` is what docker itself runs at the other end of ssh."""
    port = engine.address().rpartition(":")[2]
    script = f"""
import os, socket, threading
there = socket.create_connection(("127.0.0.1", {port}))
def copy():
    while data := there.recv(65536):
        os.write(1, data)
threading.Thread(target=copy, daemon=True).start()
while data := os.read(0, 65536):
    there.sendall(data)
"""
    program("docker", f'test "$*" = "system dial-stdio" && exec {sys.executable} -c \'{script}\'')
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@gpu-7")
    client = engine.connect()
    assert client.version()["Version"] == fake_engine.version
    client.close()
    assert (engine.is_local(), engine.host()) == (False, "gpu-7")
