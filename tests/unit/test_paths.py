"""Where a path of the host is seen from inside the container of the tool's image."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.paths import on_host


def test_on_the_host_itself_a_path_is_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PADDOCK_HOST", raising=False)
    assert on_host(Path("/srv/models")) == Path("/srv/models")


def test_links_of_the_host_lead_through_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDOCK_HOST", str(tmp_path))
    (tmp_path / "data/models").mkdir(parents=True)
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/absolute").symlink_to("/data/models")
    (tmp_path / "srv/relative").symlink_to("../../data")
    (tmp_path / "srv/loop").symlink_to("loop")
    assert on_host(Path("/srv/absolute/set")) == tmp_path / "data/models/set"
    assert on_host(Path("/srv/relative/models")) == tmp_path / "data/models"
    assert on_host(Path("/../../srv/../data")) == tmp_path / "data"
    assert on_host(Path("/srv/none")) == tmp_path / "srv/none"
    assert not on_host(Path("/srv/loop/x")).exists()
