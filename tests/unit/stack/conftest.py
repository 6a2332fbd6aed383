"""The cpu stack as its folder in the repository describes it, with weights beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from paddock.stack.configuration import Bind, Configuration
from stack_records import configuration, service


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models directory with the two sets of the cpu stack."""
    for name in ("PP-DocLayoutV3", "PaddleOCR-VL-1.6"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text("{}")
    return tmp_path / "models"


@pytest.fixture
def cpu(models: Path, repository: Path, tmp_path: Path) -> Configuration:
    """The cpu stack as its folder in the repository describes it."""
    stack = shutil.copytree(repository / "compose/cpu", tmp_path / "stack")

    def binds(name: str) -> tuple[Bind, ...]:
        configured = Bind.of(stack / name, f"/etc/paddock/{name}")
        return (configured, Bind.of(models, "/models"))

    return configuration(
        service("api", binds=binds("pipeline.yaml")), service("vlm", binds=binds("vlm.yaml"))
    )
