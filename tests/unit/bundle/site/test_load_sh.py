"""`load.sh` where the engine cannot do what it needs; with real engines it is tested among the integration
tests.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from repository import REPOSITORY

SCRIPT = REPOSITORY / "templates/bundle/load.sh"
DOCKER = """#!/bin/sh
case $3 in *Version*) echo "$VERSION" ;; *) echo linux/amd64 ;; esac
"""


@pytest.mark.parametrize(
    ("version", "refused"),
    [
        ("20.10.24+dfsg1", True),
        ("19.03.15", True),
        ("1.13.1", True),
        ("22.06.0-beta.0", True),
        ("23.0.0", False),
        ("28.5.2+dfsg4", False),
        ("100.1", False),
    ],
)
def test_an_engine_that_cannot_read_zstd_is_refused_first(
    tmp_path: Path, version: str, refused: bool
) -> None:
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER, "ascii")
    docker.chmod(0o755)
    script = tmp_path / "load.sh"
    script.write_text(SCRIPT.read_text("utf-8").replace("@platform@", "linux/amd64"), "utf-8")
    done = subprocess.run(
        ["sh", script],
        env={"PATH": f"{docker.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "VERSION": version},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert (f"found Docker Engine {version}, expected 23.0" in done.stderr) is refused
    assert ("checking every file" in done.stderr) is not refused
