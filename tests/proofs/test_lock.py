"""`templates/lock.yaml` names exactly what the data calls for, with the lists of packages as on disk."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

from paddock import paths
from paddock.matrix import pins
from programs import Finished, run
from repository import REPOSITORY

SCRIPT = REPOSITORY / "scripts/maintain/update-pins.py"
PINS = pins.load(paths.templates())


def test_the_lock_holds_exactly_what_the_data_calls_for() -> None:
    done = checked()
    assert done.returncode == 0, done.stderr


def checked(**environment: str) -> Finished:
    return run(sys.executable, SCRIPT, "--check", environment=environment)


def test_every_list_of_packages_is_the_one_on_disk() -> None:
    pinned = [pin for platforms in PINS.packages.values() for pin in platforms.values() if pin.lock]
    for pin in pinned:
        data = (paths.templates() / "locks" / str(pin.lock)).read_bytes()
        assert pin.digest == f"sha256:{hashlib.sha256(data).hexdigest()}", pin.lock
    assert len(pinned) >= 4


def test_every_line_of_a_list_is_one_exact_version() -> None:
    for path in (paths.templates() / "locks").glob("*.txt"):
        lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        assert lines
        for line in lines:
            assert re.fullmatch(r"[a-zA-Z0-9._-]+==[0-9][\w.!+-]*", line), f"{path.name}: {line}"


def test_what_is_unpinned_says_why() -> None:
    reasons = [
        pin.unpinned
        for part in (PINS.bases, PINS.packages, PINS.weights)
        for places in part.values()
        for pin in places.values()
        if pin.unpinned
    ]
    assert all(len(reason.split()) > 3 for reason in reasons), reasons


def test_a_lock_that_is_not_current_is_found(tmp_path: Path) -> None:
    """The check can fail: a base image that nothing uses."""
    for name in ("tool", "templates"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    lock = tmp_path / "templates" / pins.FILE
    unused = 'bases:\n  "debian:none":\n    linux/amd64:\n      unpinned: "nobody was asked for it"\n'
    lock.write_text(lock.read_text("utf-8").replace("bases:\n", unused), "utf-8")
    done = checked(PYTHONPATH=str(tmp_path / "tool"))
    assert done.returncode == 4, done.stderr
