"""`paddock tune` as it is typed: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from paddock.door import run
from paddock.paths import templates
from paddock.render.renderer import Renderer
from paddock.render.workspace import differences, write_files
from tunings import CARDS, REGISTRY


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """A workspace with the folder of one stack."""
    (tmp_path / "images").mkdir()
    shutil.copytree(repository / "compose" / "cpu", tmp_path / "compose" / "cpu")
    monkeypatch.setenv("PADDOCK_ROOT", str(tmp_path))
    return tmp_path


def test_write_puts_it_into_the_folder_and_render_keeps_it(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", "cpu", "--concurrency", "1", "--context", "8192", "--write"]) == 0
    path = workspace / "compose/cpu/vlm.yaml"
    text = path.read_text()
    assert text.startswith("# Tuned by `paddock tune cpu --concurrency 1 --context 8192`.\n")
    assert yaml.safe_load(text)["max-model-len"] == 8192
    assert capsys.readouterr().out == ""
    override = workspace / "compose/cpu/compose.override.yaml"
    override.write_text("services: {}\n")
    files = Renderer(templates()).stack(REGISTRY.stack(target="cpu"))
    write_files(files, workspace)
    assert path.read_text() == text
    assert override.is_file()
    changed = [difference.path for difference in differences(files, workspace)]
    assert not [path for path in changed if "cpu/" in str(path)]
    path.unlink()
    write_files(files, workspace)
    assert yaml.safe_load(path.read_text())["max-model-len"] == 16384


def test_the_command_prints_json_and_cards(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tune", "cu126", "--vram", "12", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["card"] == "nvidia-12gb"
    assert printed["settings"]["gpu-memory-utilization"]["value"] == 0.7
    assert run(["tune", "--list", "--json"]) == 0
    assert {card["card"] for card in json.loads(capsys.readouterr().out)["cards"]} == set(CARDS)


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tune", "cu126"]) == 2
    assert run(["tune"]) == 2
    assert run(["tune", "cu126", "--vram", "6"]) == 3
    assert "expected at least 8" in capsys.readouterr().err
