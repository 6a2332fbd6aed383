"""`templates/lock.yaml` names exactly what the data calls for, with the lists of packages as on disk."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

import pytest

from paddock import paths
from paddock.matrix import locks, pins
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


LISTS = {path.name: locks.read(path) for path in sorted((paths.templates() / "locks").glob("*.txt"))}
# Nobody here could ask Paddle's index, and nobody's public list names these files.
WITHOUT_A_HASH = {
    "ascend-910b-api.amd64.txt": {"paddle-custom-npu"},
    "ascend-910b-api.arm64.txt": {"paddle-custom-npu"},
    "cu126-api.amd64.txt": {"paddlepaddle-gpu"},
    "sm120-api.amd64.txt": {"paddlepaddle-gpu"},
}


def test_every_package_of_a_list_is_one_exact_version_and_known_by_hash() -> None:
    """What has no hash is counted here, and says why."""
    assert len(LISTS) >= 17
    assert sum(map(len, LISTS.values())) >= 1900
    without = {
        name: {package.name for package in packages if not package.hashes} for name, packages in LISTS.items()
    }
    assert {name: names for name, names in without.items() if names} == WITHOUT_A_HASH
    for packages in LISTS.values():
        for package in packages:
            assert package.hashes or "no hash is known: " in package.remark, package


def test_every_stand_in_is_known_by_hash() -> None:
    stand_ins = [package for packages in LISTS.values() for package in packages if package.stand_in]
    assert len(stand_ins) >= 4
    assert all(package.hashes for package in stand_ins)


REQUIREMENTS = [REPOSITORY / "constraints.txt", *sorted((REPOSITORY / "templates/image").rglob("*.lock.txt"))]


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_what_builds_and_checks_is_known_by_hash(path: Path) -> None:
    """For a checkout, for paddock's own image, and uv, which installs all others."""
    entries = re.split(r"\n(?! )", path.read_text("utf-8").replace("\\\n", "\n"))
    pins = [entry for entry in entries if entry.strip() and not entry.startswith("#")]
    assert pins
    for pin in pins:
        assert re.match(r"[\w.-]+==[\w.]+ ", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_the_lists_for_images_have_the_versions_of_constraints_txt() -> None:
    pinned = set(re.findall(r"^[\w.-]+==[^ ;]+", REQUIREMENTS[0].read_text("utf-8"), flags=re.MULTILINE))
    for path in REQUIREMENTS[1:]:
        found = set(re.findall(r"^[\w.-]+==[^ ;]+", path.read_text("utf-8"), flags=re.MULTILINE))
        assert found, path
        assert found <= pinned, path


# What installs packages, wherever it stands, and how it says that only known files count.
INSTALLS = ("install-python.sh", "install-paddock.sh", "build-llama.sh", "python.sh")


def test_whatever_installs_packages_asks_for_hashes() -> None:
    scripts = [*(REPOSITORY / "templates/image").rglob("*.sh"), *(REPOSITORY / "scripts").rglob("*.sh")]
    found = {}
    for script in scripts:
        text = re.sub(r"\\\n *", " ", script.read_text("utf-8"))
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        found[script.name] = [
            line for line in lines if re.search(r"\bpip\b.* (install|download)\b|\$into ", line)
        ]
    assert {name for name, lines in found.items() if lines} == {*INSTALLS, "choose-kernels.sh"}
    for name in INSTALLS:
        for line in found[name]:
            allowed = (
                "--require-hashes" in line
                or "--no-index" in line
                or '"$@"' in line
                or line.startswith("into=")
            )
            assert allowed, f"{name}: {line}"


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
