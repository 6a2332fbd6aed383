"""How long the commands of a site take to start: a bench, not a check; nothing fails for being slow."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from programs import paddock

RUNS = 9
COMMANDS = [
    "--help",
    "import /nowhere",
    "verify empty",
    "receipt",
    "rollback",
    "up ./stack",
    "down ./stack",
    "status",
    "logs ./stack",
    "parse absent.pdf -o out --url http://127.0.0.1:9",
    "smoke ./stack",
]


def test_how_long_a_refusal_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command is refused for want of Docker, of a bundle or of a file: what is timed is its start."""
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack/compose.yaml").write_text("services: {}\n")
    (tmp_path / "empty").mkdir()
    surroundings = {
        "PATH": os.devnull,
        "DOCKER_HOST": f"unix://{tmp_path}/none",
        "PADDOCK_STATE": str(tmp_path),
    }
    lines = []
    for command in COMMANDS:
        seconds = []
        for _ in range(RUNS):
            began = time.perf_counter()
            paddock(*command.split(), cwd=tmp_path, environment=surroundings)
            seconds.append(time.perf_counter() - began)
        lines.append(f"paddock {command}: {statistics.median(seconds):.3f} s (median of {RUNS})")
    with capsys.disabled():
        print("\n" + "\n".join(lines))
