"""Which models a target can serve; the refusals are in test_registry and its cases."""

from __future__ import annotations

import pytest

from paddock.matrix.load import load_registry
from paddock.matrix.possible import satisfies
from repository import REPOSITORY

EXAMPLE = load_registry(REPOSITORY / "tests/cases/registry/base")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("alone", ["carded talk"]),  # it has no pipeline API
        (
            "card",
            ["swift document-2", "swift document-3", "carded document-card", "carded talk"],
        ),
        (
            "plain",
            ["swift document-2", "swift document-3", "small document-2", "small document-3", "small talk"],
        ),
    ],
)
def test_servings_are_the_pairs_that_fit(target: str, expected: list[str]) -> None:
    servings = EXAMPLE.servings(EXAMPLE.target(target))
    assert [f"{serving.backend} {serving.model.name}" for serving in servings] == expected


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("3.7.2", ">=3.6", True),
        ("3.5", ">=3.6", False),
        ("0.23.0rc1", ">=0.22", True),
        ("9.1.0-beta.1", ">=9.0", True),
        ("8.3.RC2", ">=9.0", False),
        ("3_seven", ">=0", False),  # no Python version
    ],
)
def test_a_version_is_within_a_specifier(version: str, wanted: str, expected: bool) -> None:
    assert satisfies(version, wanted) is expected
