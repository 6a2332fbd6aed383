"""The medium: what it refuses in words, its file system, what is too large for it."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from paddock.bundle.export.medium import file_system, medium_named, require_part_size
from paddock.errors import BundleError

GIB = 1 << 30


def mounts(folder: Path, kind: str, there: Path) -> Path:
    """A table of mounts in which the device of `there` has this type."""
    device = there.stat().st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    (folder / "mountinfo").write_text(
        "22 1 0:21 / /proc rw,relatime shared:12 - proc proc rw\n"
        f"36 35 {numbers} / /media/usb rw,noatime master:1 shared:7 - {kind} /dev/sdb1 rw,errors=continue\n",
        "ascii",
    )
    return folder / "mountinfo"


def test_the_file_system_is_the_one_that_df_names(tmp_path: Path) -> None:
    named = subprocess.run(
        ["df", "--output=fstype", tmp_path], capture_output=True, text=True, check=True
    ).stdout
    assert file_system(tmp_path) == named.split()[1]


def test_no_table_of_mounts_no_answer(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "absent") == ""


@pytest.mark.parametrize("kind", ["vfat", "msdos", "fuse.fusefat"])
def test_fat_takes_files_below_4_gib(tmp_path: Path, kind: str) -> None:
    table = mounts(tmp_path, kind, tmp_path)
    require_part_size(tmp_path, 3900 << 20, mounts=table)
    require_part_size(tmp_path, 4 * GIB - 1, mounts=table)
    with pytest.raises(BundleError, match=f"type {kind}, which takes 4,294,967,295") as refused:
        require_part_size(tmp_path, 4 * GIB, mounts=table)
    assert "3900M" in refused.value.hint


@pytest.mark.parametrize("kind", ["ext4", "exfat", "fuseblk"])
def test_others_take_more(tmp_path: Path, kind: str) -> None:
    require_part_size(tmp_path, 100 * GIB, mounts=mounts(tmp_path, kind, tmp_path))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "Read-only file system"),
        (errno.EIO, "Input/output error"),
        (errno.EFBIG, "File too large"),
    ],
)
def test_what_a_medium_refuses(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(BundleError, match=said) as refused, medium_named(tmp_path):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in refused.value.message
    assert "goes on where it stopped" in refused.value.hint
