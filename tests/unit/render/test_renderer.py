"""Bringing a workspace to the generated files, and telling what is not current."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from paddock import paths
from paddock.door import run
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant
from paddock.render.renderer import Renderer
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


def test_check_names_each_file_and_exits_4(tmp_path: Path, capsys) -> None:
    assert run(["render", "--output", str(tmp_path)]) == 0
    (tmp_path / "compose/cpu/pipeline.yaml").unlink()
    capsys.readouterr()
    assert run(["render", "--check", "--output", str(tmp_path)]) == 4
    printed = capsys.readouterr()
    assert printed.out == "missing compose/cpu/pipeline.yaml\n"
    assert "hint: paddock render" in printed.err


def test_a_stack_with_another_model_is_rendered_and_kept_current(tmp_path: Path, capsys) -> None:
    assert run(["render", "cpu", "--model", "paddleocr-vl", "--output", str(tmp_path)]) == 0
    pipeline = tmp_path / "compose/cpu-paddleocr-vl/pipeline.yaml"
    assert "PP-DocLayoutV2" in pipeline.read_text()
    assert run(["render", "--check", "--output", str(tmp_path)]) == 0
    pipeline.write_text("")
    assert run(["render", "--check", "--output", str(tmp_path)]) == 4
    assert "different compose/cpu-paddleocr-vl/pipeline.yaml" in capsys.readouterr().out


def test_unknown_names_suggest_the_nearest(tmp_path: Path, capsys) -> None:
    assert run(["render", "cpuu", "--output", str(tmp_path)]) == 2
    assert 'did you mean "cpu"' in capsys.readouterr().err
    assert run(["render", "cpu", "--model", "paddleocr-vl-1.7", "--output", str(tmp_path)]) == 2
    assert 'did you mean "paddleocr-vl-1' in capsys.readouterr().err
    assert run(["render", "cpu", "--backend", "vlm", "--output", str(tmp_path)]) == 2
    assert 'did you mean "vllm"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_stack_has_a_name_of_its_own() -> None:
    stacks = list(load_registry(paths.templates()).all_stacks())
    assert len({stack.name for stack in stacks}) == len(stacks) > 8


def test_both_variants_share_their_build_contexts() -> None:
    renderer, data = Renderer(paths.templates()), load_registry(paths.templates())
    online, offline = (data.stack(target="cpu", variant=variant) for variant in Variant)
    assert renderer.contexts(online) == renderer.contexts(offline)
