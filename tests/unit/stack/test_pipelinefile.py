"""The pipeline configuration that a pipeline API reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import ConfigurationError
from paddock.stack.pipelinefile import is_pipeline, read_pipeline


def test_which_file_it_is() -> None:
    assert is_pipeline(Path("/srv/cpu/pipeline.yaml"))
    assert is_pipeline(Path("/srv/pipeline-mine.yaml"))
    assert not is_pipeline(Path("/srv/cpu/vlm.yaml"))
    assert not is_pipeline(Path("/srv/cpu/pipeline.conf"))


def test_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("use_layout_detection: true\n")
    assert read_pipeline(path) == {"use_layout_detection": True}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: [", "not YAML"), ("- a", "found list, expected a mapping"), ("", "found NoneType")],
)
def test_what_is_none(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=rf"pipeline\.yaml: {reason}"):
        read_pipeline(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_pipeline(tmp_path / "pipeline.yaml")
