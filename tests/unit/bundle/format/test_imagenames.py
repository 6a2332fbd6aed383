"""Which names an engine gives to an image, and how it lists them."""

from __future__ import annotations

import pytest

from paddock.bundle.format import imagenames

ID = "ab" * 32


@pytest.mark.parametrize(
    "reference",
    [
        "a:1",
        "paddock/cpu-api:0.1.0",
        "host.example:5000/x/y_z/a__b:v1.2-3_4",
        "Host.Example/a:1",
        "localhost/a:latest",
        "docker.io/library/alpine:3",
        "sha256sum:1",
        f"a:{'1' * 128}",
    ],
)
def test_names(reference: str) -> None:
    assert imagenames.is_name(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "a",
        "",
        f"sha256:{ID}",
        ID,
        f"{ID}:1",
        f"a@sha256:{ID}",
        f"a:1@sha256:{ID}",
        "A:1",
        "a/B:1",
        "-a:1",
        "a:",
        "a:-1",
        "a:1\n",
        "a//b:1",
        f"a:{'1' * 129}",
    ],
)
def test_what_no_engine_gives(reference: str) -> None:
    assert not imagenames.is_name(reference)


@pytest.mark.parametrize(
    ("reference", "tagged"),
    [
        ("a", "a:latest"),
        ("host:5000/a", "host:5000/a:latest"),
        ("a:1", "a:1"),
        (f"a@sha256:{ID}", f"a@sha256:{ID}"),
    ],
)
def test_the_tag_that_is_assumed(reference: str, tagged: str) -> None:
    assert imagenames.with_tag(reference) == tagged


@pytest.mark.parametrize(
    ("reference", "listed"),
    [
        ("docker.io/library/a:1", "a:1"),
        ("index.docker.io/library/a:1", "a:1"),
        ("docker.io/x/a:1", "x/a:1"),
        ("host/docker.io/a:1", "host/docker.io/a:1"),
        ("a:1", "a:1"),
    ],
)
def test_how_engines_list_it(reference: str, listed: str) -> None:
    assert imagenames.as_listed(reference) == listed


@pytest.mark.parametrize(
    ("reference", "repository"),
    [("a:1", "a"), ("host:5000/a", "host:5000/a"), (f"host:5000/x/a:1@sha256:{ID}", "host:5000/x/a")],
)
def test_the_repository(reference: str, repository: str) -> None:
    assert imagenames.repository(reference) == repository
