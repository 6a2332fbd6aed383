"""Finding a stack's folder by the name of a target, and rendering what is missing in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from paddock import paths
from paddock.errors import UsageError
from paddock.render.stackfolders import locate
from recording import Recorder


@pytest.fixture
def workspace(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "workspace"
    shutil.copytree(repository / "compose/cpu", root / "compose/cpu")
    monkeypatch.setenv("PADDOCK_ROOT", str(root))
    return root


def test_a_target(workspace: Path) -> None:
    found = locate("cpu")
    assert (found.path, found.name, found.options) == (workspace / "compose/cpu", "cpu", "cpu")


@pytest.mark.parametrize("target", ["cpu", "sm120", "cu126-8x80g"])
def test_the_offline_variant_has_two_names(workspace: Path, report: Recorder, target: str) -> None:
    by_name = locate(f"{target}-offline", report=report)
    assert by_name == locate(target, offline=True, report=report)
    assert by_name == locate(f"{target}-offline", offline=True, report=report)
    assert by_name.path == workspace / "compose" / f"{target}-offline"
    assert by_name.options == f"{target} --offline"


def test_a_folder_has_no_choices(folder: Path) -> None:
    with pytest.raises(UsageError, match="a folder's stack is fixed"):
        locate(str(folder), offline=True)


def test_an_unknown_target(workspace: Path) -> None:
    with pytest.raises(UsageError, match='unknown target "cpuu": did you mean "cpu"'):
        locate("cpuu")


def test_a_stack_without_a_folder_is_rendered(workspace: Path, report: Recorder) -> None:
    found = locate("cpu", model="paddleocr-vl", offline=True, report=report)
    assert found.path == workspace / "compose/cpu-paddleocr-vl-offline"
    assert found.options == "cpu --model paddleocr-vl --offline"
    made = sorted(path.name for path in found.path.iterdir())
    assert made == [".env", "compose.yaml", "images", "pipeline.yaml", "site.yaml", "vlm.yaml"]
    assert "cpu-paddleocr-vl-offline" in (workspace / "images/docker-bake.hcl").read_text()
    assert "rendering them" in report.said[0]


def test_a_stack_without_a_folder_cannot_be_stopped(workspace: Path) -> None:
    with pytest.raises(UsageError, match="never started from here"):
        locate("cpu", model="paddleocr-vl")
    assert not (workspace / "compose/cpu-paddleocr-vl").exists()


def test_what_is_missing_in_a_folder_is_rendered_and_the_rest_kept(workspace: Path, report: Recorder) -> None:
    folder = workspace / "compose/cpu"
    (folder / "vlm.yaml").unlink()
    (folder / "pipeline.yaml").write_text("somebody's own")
    locate("cpu", report=report)
    assert (folder / "vlm.yaml").is_file()
    assert (folder / "pipeline.yaml").read_text() == "somebody's own"


def test_a_folder_needs_no_templates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise AssertionError("templates were looked for")

    monkeypatch.setattr(paths, "templates", refuse)
    assert locate(str(folder)).options == ""
