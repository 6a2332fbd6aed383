"""What a second engine needs of a machine; with a real engine it is tested among the integration tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.bundle.imagestore.store import Store
from paddock.bundle.trial.privateengine import PrivateEngine, require_means
from paddock.errors import PreflightError


def test_only_root_can_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    require_means()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(PreflightError, match="found a user that is not root"):
        require_means()


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(
        "shutil.which", lambda program: None if program == "dockerd" else f"/usr/bin/{program}"
    )
    with pytest.raises(PreflightError, match="found no dockerd on PATH") as refused:
        require_means()
    assert "sudo" in refused.value.hint


def test_a_folder_whose_path_is_too_long_for_sockets_is_refused() -> None:
    PrivateEngine(Path("/" + "x" * 69), Store.CLASSIC)
    with pytest.raises(PreflightError, match="found a path of 71 characters, expected 70 at most"):
        PrivateEngine(Path("/" + "x" * 70), Store.CLASSIC)


def test_what_was_never_started_can_be_ended(tmp_path: Path) -> None:
    engine = PrivateEngine(Path("/short"), Store.CONTAINERD)
    assert engine.address == "unix:///short/docker.sock"
    engine.end()
    engine.kill()
