"""What is known of vulnerabilities, against what images hold, and the OpenVEX document of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.errors import DataError
from paddock.matrix import advisories
from paddock.matrix.advisories import Advisories, Advisory, Held

KNOWN = Advisories(
    checked="2026-11-30",
    advisories=(
        Advisory(
            packages=("a", "a-cpu"),
            ids=("CVE-1", "CVE-2"),
            about="x",
            affected=">=1,<2",
            source="https://a.example",
        ),
    ),
    held=(
        Held(
            packages=("a",),
            images=("one-*",),
            ids=("CVE-1",),
            status="not_affected",
            justification="vulnerable_code_not_in_execute_path",
            reason="it is not called",
        ),
        Held(packages=("a-cpu",), images=("two",), status="affected", reason="nobody reaches it"),
    ),
)


def test_versions_in_the_range_are_found_with_the_reason_that_is_theirs() -> None:
    images = {"one-x": {("a", "1.5"), ("b", "1.5")}, "two": {("a-cpu", "1.9+cpu")}, "three": {("a", "2.0")}}
    found = list(advisories.findings(KNOWN, images))
    assert [(entry.image, entry.version, entry.id, entry.held) for entry in found] == [
        ("one-x", "1.5", "CVE-1", KNOWN.held[0]),
        ("one-x", "1.5", "CVE-2", None),
        ("two", "1.9+cpu", "CVE-1", KNOWN.held[1]),
        ("two", "1.9+cpu", "CVE-2", KNOWN.held[1]),
    ]


def test_openvex_says_the_status_of_each(tmp_path: Path) -> None:
    images = {"one-x": {("a", "1.5")}, "two": {("a-cpu", "1.9+cpu")}}
    document = json.loads(advisories.openvex(KNOWN, images))
    assert document["@context"] == "https://openvex.dev/ns/v0.2.0"
    assert document["timestamp"] == "2026-11-30T00:00:00Z"
    first, second, third, _ = document["statements"]
    assert (first["status"], first["justification"]) == (
        "not_affected",
        "vulnerable_code_not_in_execute_path",
    )
    assert first["products"] == [{"@id": "pkg:oci/one-x", "subcomponents": [{"@id": "pkg:pypi/a@1.5"}]}]
    assert second["status"] == "under_investigation"
    assert (third["status"], third["action_statement"]) == ("affected", "nobody reaches it")
    assert third["products"][0]["subcomponents"] == [{"@id": "pkg:pypi/a-cpu@1.9%2Bcpu"}]


def test_a_justification_is_one_of_openvex_s(tmp_path: Path) -> None:
    held = "packages: [a], images: [b], status: not_affected, justification: trust me, reason: c"
    (tmp_path / advisories.FILE).write_text(f'checked: "2026-11-30"\nadvisories: []\nheld: [{{{held}}}]\n')
    with pytest.raises(DataError, match="trust me"):
        advisories.load(tmp_path)
