"""The files that mark test weights and the embedded model."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.ownweights.testweights import vlm
from paddock.weights import markers
from paddock.weights.lockfile import Kind
from paddock.weights.markers import EMBEDDED_MARKER, TEST_MARKER
from repository import REPOSITORY


@pytest.mark.parametrize(
    ("marker", "kind"),
    [(None, Kind.CARRIED), (TEST_MARKER, Kind.TEST), (EMBEDDED_MARKER, Kind.EMBEDDED)],
)
def test_a_marker_says_what_a_carried_set_is(tmp_path: Path, marker: str | None, kind: Kind) -> None:
    if marker is not None:
        (tmp_path / marker).write_text("")
    assert markers.kind_by_marker(tmp_path) is kind


def test_the_marker_of_test_weights_holds_their_text() -> None:
    files = vlm.hub_files(name="X", served_name="PaddleOCR-VL-1.6-0.9B", text="other words here")
    assert markers.text_in(files[TEST_MARKER].decode()) == "other words here"
    assert markers.text_in("# something else") is None


def test_marker_names_are_those_that_the_images_know() -> None:
    serve = next((REPOSITORY / "templates").glob("image*/api/serve.py")).read_text("utf-8")
    assert f'TEST_MARKER = "{TEST_MARKER}"' in serve
    assert f'EMBEDDED_MARKER = "{EMBEDDED_MARKER}"' in serve
