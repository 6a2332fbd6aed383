"""Connecting to an engine, and what is said when there is none that will do."""

from __future__ import annotations

import socket
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
