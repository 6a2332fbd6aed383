"""Bundles on a real FAT32 file system, mounted through FUSE: kernels may have no FAT.

Exports are not written to it here: this driver cannot append to a file. `test_export.test_fat` does that
where the kernel has FAT.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs import succeeded
from samples import bundles
from site_host import Site

pytestmark = [
    pytest.mark.fault("FAT32"),
    pytest.mark.needs("mkfs.vfat", "fusefat", "/dev/fuse"),
]


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[Path]:
    image, folder = tmp_path / "stick.img", tmp_path / "stick"
    image.touch()
    os.truncate(image, 64 << 20)
    folder.mkdir()
    subprocess.run(["mkfs.vfat", "-F", "32", "-s", "1", image], check=True, capture_output=True)
    subprocess.run(["fusefat", "-o", "rw+", image, folder], check=True, capture_output=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def copied(bundle: Path, stick: Path) -> Path:
    """A bundle on the stick, as a system writes it that knows capital letters only."""
    for path in sorted(bundle.rglob("*")):
        place = stick / path.relative_to(bundle.parent).as_posix().upper()
        if path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    assert (stick / "bundle/bundle.json").is_file(), "it does not fold case"
    return stick / "BUNDLE"


def test_a_bundle_comes_in_from_a_stick_that_folds_case(host: Site, stick: Path, tmp_path: Path) -> None:
    bundles.write(tmp_path / "bundle")
    folder = copied(tmp_path / "bundle", stick)
    assert "all as written" in succeeded(host.paddock("verify", folder))
    succeeded(host.paddock("import", folder))
    assert host.names() == set(bundles.IMAGES)
    compose = (host.state / "stacks/stack/compose.yaml").read_bytes()
    assert compose == bundles.FILES["stack/compose.yaml"]


def test_a_bad_part_on_a_stick_is_named(host: Site, stick: Path, tmp_path: Path) -> None:
    bundles.write(tmp_path / "bundle")
    part = tmp_path / "bundle/images.tar.001"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    host.refuses("import", copied(tmp_path / "bundle", stick), words="images.tar.001: changed")
    assert host.names() == set()


def test_parts_that_a_stick_cannot_hold_are_refused(host: Site, stick: Path, tmp_path: Path) -> None:
    bundles.write(tmp_path / "bundle")
    assert host.paddock("import", tmp_path / "bundle").returncode == 0
    images = [f"--image={name}" for name in bundles.IMAGES]
    host.refuses(
        "export", "--no-tool", *images, "--part-size=4G", "-o", stick / "new", words="takes 4,294,967,295"
    )
