"""Bringing a workspace to the generated files, and finding what is not current."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from paddock.render.workspace import Difference, Fault, differences, write_files

FILES = {
    PurePosixPath("compose/cpu/.env"): "# settings\nAPI_PORT=8080\nMODELS_DIR=models\n",
    PurePosixPath("compose/cpu/compose.yaml"): "name: cpu\n",
    PurePosixPath("images/cpu/api/Dockerfile"): "FROM scratch\n",
}


def test_write_then_nothing_differs(tmp_path: Path) -> None:
    changed = write_files(FILES, tmp_path)
    assert [change.fault for change in changed] == [Fault.MISSING] * 3
    assert differences(FILES, tmp_path) == []
    assert write_files(FILES, tmp_path) == []


def test_missing_different_and_stale_are_told_apart(tmp_path: Path) -> None:
    write_files(FILES, tmp_path)
    (tmp_path / "compose/cpu/compose.yaml").unlink()
    (tmp_path / "images/cpu/api/Dockerfile").write_text("FROM other\n")
    (tmp_path / "images/old").mkdir()
    (tmp_path / "images/old/Dockerfile").touch()
    assert differences(FILES, tmp_path) == [
        Difference(path=PurePosixPath("compose/cpu/compose.yaml"), fault=Fault.MISSING),
        Difference(path=PurePosixPath("images/cpu/api/Dockerfile"), fault=Fault.DIFFERENT),
        Difference(path=PurePosixPath("images/old/Dockerfile"), fault=Fault.STALE),
    ]
    write_files(FILES, tmp_path)
    assert not (tmp_path / "images/old").exists()


def test_settings_somebody_made_are_kept(tmp_path: Path) -> None:
    write_files(FILES, tmp_path)
    env = tmp_path / "compose/cpu/.env"
    env.write_text("API_PORT=9000\nMODELS_DIR=models\nMINE=1\n")
    assert [change.path.name for change in write_files(FILES, tmp_path)] == [".env"]
    assert env.read_text() == "# settings\nAPI_PORT=9000\nMODELS_DIR=models\nMINE=1\n"
    assert differences(FILES, tmp_path) == []
