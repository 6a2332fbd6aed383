"""Where the workspace is, and where a path of the host is seen from inside the tool's container."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock import paths
from paddock.errors import ConfigurationError
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


def test_the_workspace_is_the_nearest_folder_with_images_and_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PADDOCK_ROOT", raising=False)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "images").mkdir()
    (tmp_path / "compose").mkdir()
    monkeypatch.chdir(below)
    assert paths.workspace() == tmp_path


def test_the_workspace_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDOCK_ROOT", str(tmp_path))
    assert paths.workspace() == tmp_path
    monkeypatch.setenv("PADDOCK_ROOT", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match=r"PADDOCK_ROOT: found .*absent"):
        paths.workspace()


def test_the_workspace_is_the_checkout_where_nothing_else_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PADDOCK_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert paths.workspace() / "templates" == paths.templates()
