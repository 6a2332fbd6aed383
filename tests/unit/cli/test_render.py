"""`paddock render`: what it says and with which status it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.door import run


def test_check_names_each_file_and_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "--output", str(tmp_path)]) == 0
    (tmp_path / "compose/cpu/pipeline.yaml").unlink()
    capsys.readouterr()
    assert run(["render", "--check", "--output", str(tmp_path)]) == 4
    printed = capsys.readouterr()
    assert printed.out == "missing compose/cpu/pipeline.yaml\n"
    assert f"hint: `paddock render --output {tmp_path}` writes them" in printed.err


def test_a_stack_with_another_model_is_rendered_and_kept_current(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["render", "cpu", "--model", "paddleocr-vl", "--output", str(tmp_path)]) == 0
    pipeline = tmp_path / "compose/cpu-paddleocr-vl/pipeline.yaml"
    assert "PP-DocLayoutV2" in pipeline.read_text()
    assert run(["render", "--check", "--output", str(tmp_path)]) == 0
    pipeline.write_text("")
    assert run(["render", "--check", "--output", str(tmp_path)]) == 4
    assert "different compose/cpu-paddleocr-vl/pipeline.yaml" in capsys.readouterr().out


def test_unknown_names_suggest_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "cpuu", "--output", str(tmp_path)]) == 2
    assert 'did you mean "cpu"' in capsys.readouterr().err
    assert run(["render", "cpu", "--model", "paddleocr-vl-1.7", "--output", str(tmp_path)]) == 2
    assert 'did you mean "paddleocr-vl-1' in capsys.readouterr().err
    assert run(["render", "cpu", "--backend", "vlm", "--output", str(tmp_path)]) == 2
    assert 'did you mean "vllm"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
