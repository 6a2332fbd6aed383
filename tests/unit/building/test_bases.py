"""Base images: which a stack needs, and how each comes into the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from fake_engine import FakeEngine
from paddock import engine, paths
from paddock.building import bases
from paddock.engine import docker
from paddock.errors import EngineError
from paddock.matrix.load import load_registry
from paddock.matrix.pins import PinnedBase, Pins
from paddock.matrix.records import Base, Platform
from recording import Recorder

BASE = Base(image="debian:bookworm-slim")
DIGEST = "sha256:" + "a1" * 32
PINS = Pins(bases={BASE.image: {Platform.AMD64: PinnedBase(digest=DIGEST)}})
PINNED = f"mirror.example/debian:bookworm-slim@{DIGEST}"
Program = Callable[[str, str], None]


@pytest.fixture
def client(fake_engine: FakeEngine) -> Iterator[docker.DockerClient]:
    with closing(engine.connect()) as connected:
        yield connected


@pytest.fixture
def asked(tmp_path: Path, program: Program) -> Path:
    """What `docker` was called with; it succeeds."""
    path = tmp_path / "asked"
    program("docker", f'echo "$@" >> {path}')
    return path


def ensure(
    client: docker.DockerClient,
    report: Recorder,
    base: Base = BASE,
    stand_ins: Mapping[str, str] | None = None,
    pins: Pins | None = None,
) -> dict[str, str]:
    return bases.ensure_base(
        base,
        Platform.AMD64,
        client=client,
        base_registry="mirror.example/",
        pins=pins or Pins(),
        stand_ins=stand_ins or {},
        report=report,
    )


def test_each_base_of_a_stack_is_named_once() -> None:
    data = load_registry(paths.templates())
    images = [base.image for base in bases.base_images(data.stack(target="cpu"))]
    assert images
    assert len(images) == len(set(images))


def test_a_base_that_is_there_is_not_pulled(
    client: docker.DockerClient, fake_engine: FakeEngine, asked: Path, report: Recorder
) -> None:
    fake_engine.images = {"mirror.example/debian:bookworm-slim"}
    ensure(client, report)
    assert (report.lines, asked.exists()) == ([], False)


def test_a_base_that_another_stands_in_for_is_not_looked_for(
    client: docker.DockerClient, asked: Path, report: Recorder
) -> None:
    name = "mirror.example/debian:bookworm-slim"
    assert ensure(client, report, stand_ins={name: "mine:1"}) == {name: "mine:1"}
    assert (report.lines, asked.exists()) == ([], False)


def test_a_base_that_is_not_there_is_pulled(
    client: docker.DockerClient, asked: Path, report: Recorder
) -> None:
    ensure(client, report)
    assert asked.read_text() == "pull --quiet mirror.example/debian:bookworm-slim\n"
    assert report.said == ["pulling mirror.example/debian:bookworm-slim"]


def test_a_base_that_cannot_be_pulled(
    client: docker.DockerClient, program: Program, report: Recorder
) -> None:
    program("docker", "echo no such host >&2; exit 1")
    with pytest.raises(
        EngineError, match=r"debian:bookworm-slim: cannot be pulled\n.*exit status 1"
    ) as refused:
        ensure(client, report)
    assert "BASE_REGISTRY" in refused.value.hint


def test_a_base_of_debian_is_made_where_no_registry_answers(
    client: docker.DockerClient,
    program: Program,
    report: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program("docker", "exit 1")
    script = tmp_path / "make-base.sh"
    script.write_text('echo "making $1 of $2"\n')
    monkeypatch.setattr(bases, "MAKE_BASE", script)
    ensure(client, report, Base(image="debian:bookworm-slim", debootstrap="bookworm"))
    assert "which is not the same image" in report.warned[0]
    assert report.said[-1] == "making mirror.example/debian:bookworm-slim of bookworm"


def test_a_pinned_base_is_pulled_by_its_digest(
    client: docker.DockerClient, asked: Path, report: Recorder
) -> None:
    assert ensure(client, report, pins=PINS) == {}
    assert asked.read_text() == f"pull --quiet {PINNED}\n"


def test_what_stands_in_for_a_tag_stands_in_for_its_digest(
    client: docker.DockerClient, asked: Path, report: Recorder
) -> None:
    taken = ensure(client, report, stand_ins={"mirror.example/debian:bookworm-slim": "mine:1"}, pins=PINS)
    assert (taken, asked.exists()) == ({PINNED: "mine:1"}, False)


def test_a_base_that_is_made_here_stands_in_for_the_pinned_one(
    client: docker.DockerClient,
    program: Program,
    report: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program("docker", "exit 1")
    script = tmp_path / "make-base.sh"
    script.write_text('echo "making $1 of $2"\n')
    monkeypatch.setattr(bases, "MAKE_BASE", script)
    made = ensure(client, report, Base(image="debian:bookworm-slim", debootstrap="bookworm"), pins=PINS)
    assert made == {PINNED: "mirror.example/debian:bookworm-slim"}
    assert report.said[-1] == "making mirror.example/debian:bookworm-slim of bookworm"


def test_debian_s_packages_are_taken_only_with_debian_s_signature() -> None:
    assert "debootstrap --force-check-gpg " in bases.MAKE_BASE.read_text("utf-8")


def test_the_script_is_beside_the_module() -> None:
    assert bases.MAKE_BASE.read_text("utf-8").startswith("#!/usr/bin/env bash\n")
