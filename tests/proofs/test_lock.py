"""`templates/lock.yaml` names exactly what the data calls for, and the lists that it names are those on disk."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from paddock import paths
from paddock.matrix import pins
from paddock.matrix.load import load_registry
from repository import REPOSITORY

SCRIPT = REPOSITORY / "scripts/maintain/update-pins.py"
REGISTRY = load_registry(paths.templates())
PINS = pins.load(paths.templates())


def test_the_lock_holds_exactly_what_the_data_calls_for() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_list_of_packages_is_the_one_on_disk() -> None:
    named = [each for platforms in PINS.packages.values() for each in platforms.values() if each.lock]
    for each in named:
        data = (paths.templates() / "locks" / str(each.lock)).read_bytes()
        assert each.digest == f"sha256:{hashlib.sha256(data).hexdigest()}", each.lock
    assert len(named) >= 4


def test_every_line_of_a_list_is_one_exact_version() -> None:
    for path in (paths.templates() / "locks").glob("*.txt"):
        lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        assert lines
        for line in lines:
            assert re.fullmatch(r"[a-zA-Z0-9._-]+==[0-9][\w.!+-]*", line), f"{path.name}: {line}"


def test_what_is_unpinned_says_why() -> None:
    reasons = [
        each.unpinned
        for part in (PINS.bases, PINS.packages, PINS.weights)
        for places in part.values()
        for each in places.values()
        if each.unpinned
    ]
    assert all(len(reason.split()) > 3 for reason in reasons), reasons


def test_a_lock_that_is_not_current_is_found(tmp_path: Path) -> None:
    """The check can fail: a base image that nothing uses."""
    for name in ("tool", "templates"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    lock = tmp_path / "templates" / pins.FILE
    unused = 'bases:\n  "debian:none":\n    linux/amd64:\n      unpinned: "nobody was asked for it"\n'
    lock.write_text(lock.read_text("utf-8").replace("bases:\n", unused), "utf-8")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "tool")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
