"""Bringing a workspace to the generated files, and finding what is not current."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

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
    env.write_bytes(b"\xef\xbb\xbfexport API_PORT = 9000\r\n# Schl\xfcssel\r\nMINE='two\nlines'\r\n")
    env.chmod(0o600)
    assert [change.path.name for change in write_files(FILES, tmp_path)] == [".env"]
    assert env.read_bytes() == (
        b"\xef\xbb\xbfexport API_PORT = 9000\r\nMODELS_DIR=models\r\n# Schl\xfcssel\r\nMINE='two\nlines'\r\n"
    )
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert differences(FILES, tmp_path) == []


def test_an_env_file_that_compose_refuses_stays_as_it_is(tmp_path: Path) -> None:
    write_files(FILES, tmp_path)
    (tmp_path / "compose/cpu/.env").write_bytes(b"API_PORT='9000\n")
    assert write_files(FILES, tmp_path) == []


@pytest.mark.usefixtures("_closed_files")
def test_containers_of_other_users_can_read_what_is_rendered(tmp_path: Path) -> None:
    """Under umask 077 as well: images keep these modes, and stacks mount some of the files."""
    write_files(FILES, tmp_path)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    env = modes.pop(".env")
    assert env == 0o600, "it may hold a password, and only Compose reads it"
    files, folders = ("compose.yaml", "Dockerfile"), ("compose", "images", "cpu", "api")
    assert modes == dict.fromkeys(files, 0o644) | dict.fromkeys(folders, 0o755)


@pytest.fixture
def _closed_files() -> Iterator[None]:
    """New files are for their owner only, as hardened hosts have it."""
    before = os.umask(0o077)
    yield
    os.umask(before)
