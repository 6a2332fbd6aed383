"""The lock of base images and weights: what is refused in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import ConfigurationError, DataError
from paddock.matrix import pins
from paddock.matrix.records import Platform

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bases:\n  a:\n    linux/amd64: {}\n", "found neither"),
        (f'bases:\n  a:\n    linux/amd64: {{digest: "{DIGEST}", unpinned: no}}\n', "unpinned: found"),
        (f'bases:\n  a:\n    linux/amd64: {{digest: "{DIGEST}", unpinned: "why"}}\n', "found both"),
        ("bases:\n  a:\n    linux/amd64: {digest: latest}\n", "expected a digest"),
        ("weights:\n  a:\n    huggingface: {revision: main}\n", "expected a commit"),
        ("weights:\n  a:\n    somewhere: {unpinned: why}\n", "somewhere"),
    ],
)
def test_half_pinned_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / pins.FILE).write_text(text)
    with pytest.raises((ConfigurationError, DataError), match=reason):
        pins.load(tmp_path)


def test_a_base_is_named_by_its_digest_where_one_is_known(tmp_path: Path) -> None:
    platforms = f'linux/amd64: {{digest: "{DIGEST}"}}, linux/arm64: {{unpinned: "not asked"}}'
    (tmp_path / pins.FILE).write_text(f'bases:\n  "a/b:1": {{{platforms}}}\n')
    found = pins.load(tmp_path)
    assert found.reference("a/b:1", Platform.AMD64) == f"a/b:1@{DIGEST}"
    assert found.reference("a/b:1", Platform.ARM64) == "a/b:1"
    assert pins.load(tmp_path / "nothing").reference("a/b:1", Platform.AMD64) == "a/b:1"
