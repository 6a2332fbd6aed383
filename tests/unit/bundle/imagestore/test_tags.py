"""The name that keeps the image which had a name before."""

from __future__ import annotations

import pytest

from paddock.bundle.imagestore.tags import previous_name


@pytest.mark.parametrize(
    ("reference", "previous"),
    [
        ("paddock/api:1.0", "paddock/api:1.0-previous"),
        ("paddock/api", "paddock/api:latest-previous"),
        ("registry:5000/api:1", "registry:5000/api:1-previous"),
        ("api:" + "x" * 128, "api:" + "x" * 119 + "-previous"),
    ],
)
def test_previous_names_are_tags_of_the_same_repository(reference: str, previous: str) -> None:
    assert previous_name(reference) == previous
