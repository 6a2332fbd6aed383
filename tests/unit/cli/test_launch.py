"""`paddock up` and `paddock down` as they are typed; the operations themselves are replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.door import run
from paddock.stack import launch
from paddock.stack.folder import StackFolder
from paddock.stack.launch import Started, UsedWeightSet

STARTED = Started(
    project="paddock-cpu",
    folder="/srv/cpu",
    url="http://127.0.0.1:8080",
    ready=True,
    model="",
    weights=(UsedWeightSet(name="PP-DocLayoutV3", test=False), UsedWeightSet(name="VL", test=True)),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """What the operations were given; `paddock` runs in a folder with a stack in `stack`."""
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack/compose.yaml").write_text("services: {}\n")
    monkeypatch.chdir(tmp_path)
    given: dict[str, object] = {}

    def up(folder: StackFolder, **others: object) -> Started:
        given.update(others, path=folder.path, project=folder.project, environment=dict(folder.environment))
        return STARTED

    def down(folder: StackFolder, **others: object) -> None:
        given.update(others, path=folder.path)

    monkeypatch.setattr(launch, "up", up)
    monkeypatch.setattr(launch, "down", down)
    return given


def test_what_was_started_is_shown(asked: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "./stack"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "http://127.0.0.1:8080",
        "weights: PP-DocLayoutV3, VL (test)",
        "test weights: the text is not read from the page",
    ]
    assert (asked["wait"], asked["timeout"], asked["environment"]) == (True, None, {})


def test_options_of_one_start(
    asked: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--port 8081 --images upstream --no-wait --timeout 5 --project mine --json"
    assert run(["up", "./stack", *options.split()]) == 0
    assert asked["environment"] == {"API_PORT": "8081", "IMAGES": "upstream"}
    assert (asked["wait"], asked["timeout"], asked["project"]) == (False, 5.0, "mine")
    assert asked["path"] == tmp_path / "stack"
    assert json.loads(capsys.readouterr().out) == {
        "project": "paddock-cpu",
        "certificate": "",
        "folder": "/srv/cpu",
        "url": "http://127.0.0.1:8080",
        "ready": True,
        "model": None,
        "weights": [
            {"name": "PP-DocLayoutV3", "test": False, "embedded": False},
            {"name": "VL", "test": True, "embedded": False},
        ],
    }


def test_down_keeps_volumes_unless_told_otherwise(asked: dict[str, object], tmp_path: Path) -> None:
    assert run(["down", "./stack"]) == 0
    assert (asked["path"], asked["volumes"]) == (tmp_path / "stack", False)
    assert run(["down", "./stack", "--volumes"]) == 0
    assert asked["volumes"] is True
