"""What an image build installs: by hash, or named aloud, or not at all (image/shared/choose-packages.py)."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from programs import Finished, run
from repository import REPOSITORY

PROGRAM = REPOSITORY / "templates/image/shared/choose-packages.py"
OTHER = "0f" * 32
HERE = b"wheel of this folder"
HASH = hashlib.sha256(HERE).hexdigest()
LISTED = f"""one==1.0 --hash=sha256:{OTHER}
gpu-thing==2.0 # no hash is known: nobody was asked
nvidia-x==1.0 --hash=sha256:{OTHER}
torch==2.0+cpu --hash=sha256:{HASH} # of the wheel itself
# stand-in: thing==2.0 --hash=sha256:{OTHER}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "list.txt").write_text(LISTED)
    return tmp_path


def choose(folder: Path, *options: str, **environment: str) -> Finished:
    return run(
        sys.executable,
        PROGRAM,
        folder / "list.txt",
        folder / "wheels",
        folder / "to",
        *options,
        environment=environment,
    )


def chosen(folder: Path) -> dict[str, list[str]]:
    return {path.stem: path.read_text().splitlines() for path in sorted((folder / "to").iterdir())}


def test_each_package_goes_where_its_file_may_come_from(folder: Path) -> None:
    done = choose(folder, "--vendor", "gpu-thing")
    assert done.returncode == 0, done.stderr
    locked = [line.partition(" #")[0] for line in LISTED.splitlines() if "--hash" in line and line[0] != "#"]
    assert chosen(folder) == {"locked": locked, "vendor-unhashed": ["gpu-thing==2.0"]}
    assert (
        done.stderr
        == "warning: gpu-thing==2.0: installed WITHOUT A HASH: no hash is known: nobody was asked\n"
    )


def test_a_vendor_s_package_with_a_hash_is_taken_by_it(folder: Path) -> None:
    assert choose(folder, "--vendor", "torch").returncode == 0
    assert chosen(folder)["vendor"] == [f"torch==2.0+cpu --hash=sha256:{HASH}"]
    assert chosen(folder)["unhashed"] == ["gpu-thing==2.0"]


def test_a_wheel_of_the_folder_with_the_listed_hash_needs_no_vendor(folder: Path) -> None:
    (folder / "wheels/torch-2.0+cpu-py3-none-any.whl").write_bytes(HERE)
    assert choose(folder, "--vendor", "torch").returncode == 0
    assert "vendor" not in chosen(folder)


@pytest.mark.parametrize("version", ["1.0", "1.0+other"])
def test_another_build_in_the_folder_is_refused_and_named(folder: Path, version: str) -> None:
    (folder / f"wheels/one-{version}-py3-none-any.whl").write_bytes(HERE)
    done = choose(folder)
    assert done.returncode == 1
    assert f"one-{version}-py3-none-any.whl in the wheelhouse: found SHA-256 {HASH}" in done.stderr
    assert f"expected one of the list's for one==1.0: {OTHER}" in done.stderr
    assert "UNLOCKED_WHEELS=1" in done.stderr
    assert not (folder / "to").exists()


def test_another_build_is_taken_where_that_is_allowed_and_named_all_the_same(folder: Path) -> None:
    wheel = folder / "wheels/one-1.0+other-py3-none-any.whl"
    wheel.write_bytes(HERE)
    done = choose(folder, UNLOCKED_WHEELS="1")
    assert done.returncode == 0, done.stderr
    assert f"one @ {wheel.as_uri()}" in chosen(folder)["unhashed"]
    assert f"{wheel.name} in the wheelhouse: found SHA-256 {HASH}, not the list's" in done.stderr


def test_wheels_for_others_and_of_other_versions_do_not_matter(folder: Path) -> None:
    for name in ("one-1.0-cp27-cp27m-win32.whl", "one-1.1-py3-none-any.whl", "two-1.0-py3-none-any.whl"):
        (folder / "wheels" / name).write_bytes(HERE)
    assert choose(folder).returncode == 0


def test_a_stand_in_is_known_by_hash_too(folder: Path) -> None:
    done = choose(folder, "--vendor", "gpu-thing", "--stand-in", "thing==2.0")
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.partition("==")[0] for line in chosen(folder)["locked"]]
    assert names == ["one", "torch", "thing"]


def test_a_line_that_is_none_is_refused(folder: Path) -> None:
    (folder / "list.txt").write_text("--index-url https://evil.example\n")
    assert "expected name==version" in choose(folder).stderr
