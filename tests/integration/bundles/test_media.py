"""`paddock verify` and `sign` on real media: one that lies, one that fails, a read-only one, a full one."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from paddock.bundle.format import signature
from paddock.bundle.format.manifest import SIGNATURE
from paddock.door import run
from samples import bundles

SIZE = 16 << 20
NEVER = b"what no other test writes " * 4000


@dataclass
class Medium:
    """A file system in a file: what is written to `device` behind its back is what a bad stick gives."""

    device: Path
    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@pytest.fixture
def medium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Medium]:
    """A medium with a bundle on it; the current folder is on another disk."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    made = Medium(device=tmp_path / "stick.img", folder=tmp_path / "stick")
    made.folder.mkdir()
    with made.device.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", made.device], check=True)
    subprocess.run(["mount", "-o", "loop", made.device, made.folder], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path / "state"))
    try:
        bundles.write(made.bundle, files={"README.txt": NEVER})
        subprocess.run(["sync", "--file-system", made.folder], check=True)
        yield made
    finally:
        subprocess.run(["umount", made.folder], check=True)


@pytest.mark.fault("medium that fails or lies")
def test_a_bad_write_that_memory_hides_is_found(medium: Medium, capsys: pytest.CaptureFixture[str]) -> None:
    path = medium.bundle / "README.txt"
    written = hashlib.sha256(path.read_bytes()).hexdigest()  # from now on the system has it in memory
    place = medium.device.read_bytes().index(NEVER[:4096])
    with medium.device.open("r+b") as device:
        device.seek(place + 100)
        device.write(b"X")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == written, "the system no longer hides it"
    assert run(["verify", str(medium.bundle)]) == 7
    assert "README.txt  changed" in capsys.readouterr().out


@pytest.mark.fault("medium that fails or lies")
def test_a_medium_that_fails_while_it_is_read(medium: Medium, capsys: pytest.CaptureFixture[str]) -> None:
    place = medium.device.read_bytes().index(NEVER[:4096])
    with medium.device.open("r+b") as device:
        device.truncate(place)  # reading behind that is an error of the device
    assert run(["verify", str(medium.bundle)]) == 7
    printed = capsys.readouterr()
    assert "README.txt" in printed.out
    assert "unreadable" in printed.out
    assert "Input/output error" in printed.out
    assert "README.txt" in next(Path().glob("resend-*.txt")).read_text()


@pytest.mark.fault("read-only medium")
def test_a_read_only_medium(medium: Medium, capsys: pytest.CaptureFixture[str]) -> None:
    medium.remount("ro")
    assert run(["verify", str(medium.bundle)]) == 0
    signature.keygen(Path("key"))
    assert run(["sign", str(medium.bundle), "--key", "key"]) == 7
    assert "cannot be written (Read-only file system)" in capsys.readouterr().err


def test_a_full_medium_keeps_the_signature_that_it_had(
    medium: Medium, capsys: pytest.CaptureFixture[str]
) -> None:
    signature.keygen(Path("key"))
    in_memory = ["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs"]  # can be filled to the last byte
    subprocess.run([*in_memory, medium.bundle], check=True)
    try:
        bundles.write(medium.bundle)
        assert run(["sign", str(medium.bundle), "--key", "key"]) == 0
        before = (medium.bundle / SIGNATURE).read_bytes()
        with (
            pytest.raises(OSError, match="No space left"),
            (medium.bundle / "filler").open("wb", 0) as filler,
        ):
            while True:
                filler.write(bytes(4096))
        assert run(["sign", str(medium.bundle), "--key", "key", "--sequence", "9"]) == 7
        assert "cannot be written (No space left on device)" in capsys.readouterr().err
        assert (medium.bundle / SIGNATURE).read_bytes() == before
        assert not list(medium.bundle.glob("*.partial"))
        assert run(["verify", str(medium.bundle)]) == 0
    finally:
        subprocess.run(["umount", medium.bundle], check=True)
