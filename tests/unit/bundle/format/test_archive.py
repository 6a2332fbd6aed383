"""The names that an archive gives its images."""

from __future__ import annotations

import pytest

from paddock.bundle.format.archive import full_name


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("debian:12", "docker.io/library/debian:12"),
        ("paddock/tool:1", "docker.io/paddock/tool:1"),
        ("harbor.example/ocr/api:1", "harbor.example/ocr/api:1"),
        ("localhost/api:1", "localhost/api:1"),
        ("registry:5000/api:1", "registry:5000/api:1"),
    ],
)
def test_full_names(short: str, full: str) -> None:
    assert full_name(short) == full
