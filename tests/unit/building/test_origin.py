"""The commit and the time that a build carries."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from paddock.building.origin import git_revision, source_date_epoch
from programs import run

COMMITTED = 1_700_000_000


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "file").write_text("committed\n")
    date = f"{COMMITTED} +0000"
    git = ("git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org")
    environment = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "GIT_CONFIG_GLOBAL": "/dev/null"}
    for arguments in (["init", "--quiet"], ["add", "file"], ["commit", "--quiet", "--message=one"]):
        done = run(*git, *arguments, environment=environment)
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_a_clean_tree_is_its_commit(workspace: Path) -> None:
    revision = git_revision(workspace)
    assert len(revision) == 40
    (workspace / "file").write_text("changed\n")
    assert git_revision(workspace) == f"{revision}-dirty"


def test_layers_carry_the_time_of_the_commit(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_date_epoch(workspace) == COMMITTED
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "42")
    assert source_date_epoch(workspace) == 42


def test_outside_git_and_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision(tmp_path) == "unknown"
    assert abs(source_date_epoch(tmp_path) - time.time()) < 60
