"""Asking container registries, against a real one on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import requests

from paddock.building.containerregistry import Reference, Verdict, look_up
from paddock.matrix.records import Platform

DIGEST = "sha256:" + "c3" * 32


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize(
    ("repository", "platform", "verdict", "detail"),
    [
        ("open/both", Platform.AMD64, Verdict.PRESENT, ""),
        ("open/both", Platform.ARM64, Verdict.PRESENT, ""),
        ("token/both", Platform.AMD64, Verdict.PRESENT, ""),
        ("open/one", Platform.ARM64, Verdict.PRESENT, ""),
        ("open/one", Platform.AMD64, Verdict.OTHER_PLATFORM, "only for linux/arm64"),
        ("open/attested", Platform.ARM64, Verdict.OTHER_PLATFORM, "only for linux/amd64"),
        ("open/none", Platform.AMD64, Verdict.ABSENT, "does not have it"),
        ("closed/it", Platform.AMD64, Verdict.REFUSED, "403; it is not there, or wants a login"),
        ("busy/it", Platform.AMD64, Verdict.REFUSED, "429; too many requests"),
        ("broken/it", Platform.AMD64, Verdict.UNREACHABLE, "answers 503"),
        ("odd/odd", Platform.AMD64, Verdict.UNREACHABLE, "makes no sense"),
    ],
)
def test_what_a_registry_says(
    registry_address: str,
    registry_digest: str,
    session: requests.Session,
    repository: str,
    platform: Platform,
    verdict: Verdict,
    detail: str,
) -> None:
    answer = look_up(f"{registry_address}/{repository}:1.0", platform, session=session)
    assert answer.verdict is verdict, answer
    assert detail in answer.detail
    assert answer.digest == (registry_digest if repository.endswith("/both") else "")


def test_nobody_answers(session: requests.Session) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        name = f"127.0.0.1:{taken.getsockname()[1]}/a/b:1.0"
        answer = look_up(name, Platform.AMD64, session=session)
    assert answer.verdict is Verdict.UNREACHABLE
    assert answer.detail.endswith("connection refused")


@pytest.mark.parametrize(
    ("name", "host", "repository", "version"),
    [
        ("debian:bookworm-slim", "docker.io", "library/debian", "bookworm-slim"),
        ("vllm/vllm-openai:v1", "docker.io", "vllm/vllm-openai", "v1"),
        ("quay.io/ascend/vllm-ascend:v0.13.0-310p", "quay.io", "ascend/vllm-ascend", "v0.13.0-310p"),
        ("harbor.example:5000/proxy/debian", "harbor.example:5000", "proxy/debian", "latest"),
        (f"quay.io/a/b:1@{DIGEST}", "quay.io", "a/b", DIGEST),
    ],
)
def test_names_are_completed_as_docker_does(name: str, host: str, repository: str, version: str) -> None:
    assert Reference.of(name) == Reference(host=host, repository=repository, version=version)


def test_a_wrong_name_is_not_there(session: requests.Session) -> None:
    with pytest.raises(ValueError, match="expected the name of an image"):
        Reference.of("No Image")
    assert look_up("No Image", Platform.AMD64, session=session).verdict is Verdict.ABSENT
