"""Which files are measured, and when again."""

from __future__ import annotations

import pytest

from measuring import fingerprint, fits


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [((), True), (("debian-qpdf/*",), True), (("pypi-*", "*-minimal.pdf"), True), (("qpdf",), False)],
)
def test_patterns(patterns: tuple[str, ...], expected: bool) -> None:
    assert fits("debian-qpdf/0a1b2c3d-minimal.pdf", patterns) is expected


def test_what_was_compared_with_other_pages_is_measured_again() -> None:
    assert fingerprint(3) == fingerprint(3) != fingerprint(4)
