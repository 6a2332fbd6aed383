"""Exports straight onto an exFAT stick, as most sticks are, and imports from it; it is mounted through FUSE.

Needs root and a loop device. The stick is pulled by killing its driver: what that had not written is lost.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import programs
from bundle_folders import contents_of, manifest_of
from layer_files import noise, text
from paddock.bundle.format.manifest import Carried
from paddock.door import run
from pipeline_api import Maker, PipelineApi
from programs import PADDOCK, require_failure, succeeded
from site_engine import Load
from site_host import Site
from small_images import SmallImage, plain, tar

pytestmark = [
    pytest.mark.fault("exFAT"),
    pytest.mark.needs("mkfs.exfat", "mount.exfat-fuse", "/dev/fuse"),
]

NAME = "stick/app:1"
SYSTEM = plain(tar({"etc/hostname": b"site\n", "bin/sh": text(300_000)}))
LIBRARY = noise(6 << 20, 7)
BEFORE = SmallImage(
    reference=NAME,
    layers=(SYSTEM, plain(tar({"lib.so": LIBRARY})), plain(tar({"weights": noise(6 << 20, 8)}))),
)
AFTER = SmallImage(
    reference=NAME, layers=(SYSTEM, plain(tar({"lib.so": LIBRARY + b"fixed"})), BEFORE.layers[2])
)
LIMIT = 120  # seconds


class Stick:
    """An exFAT file system of 64 MB that can be pulled and put back."""

    def __init__(self, folder: Path) -> None:
        self._image, self.folder = folder / "stick.img", folder / "stick"
        self._device = ""  # while it is plugged in
        self._image.touch()
        os.truncate(self._image, 64 << 20)
        self.folder.mkdir()
        subprocess.run(["mkfs.exfat", self._image], check=True, capture_output=True)
        self._driver: subprocess.Popen[bytes] | None = None

    def put_in(self) -> None:
        """Mount it."""
        self._device = subprocess.run(
            ["losetup", "--find", "--show", self._image], check=True, capture_output=True, text=True
        ).stdout.strip()
        argv: list[str | Path] = ["mount.exfat-fuse", "-d", self._device, self.folder]
        self._driver = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + LIMIT
        while not self.folder.is_mount():
            assert self._driver.poll() is None and time.monotonic() < end, "it was not mounted"
            time.sleep(0.02)

    def pull(self) -> None:
        """Take it away without a word to anybody."""
        assert self._driver is not None
        self._driver.kill()
        self._driver.wait()
        self._driver = None
        subprocess.run(["umount", "--lazy", self.folder], check=True)
        subprocess.run(["losetup", "--detach", self._device], check=True)

    def end(self) -> None:
        """Leave nothing mounted."""
        if self._driver is not None:
            self.pull()

    def take_out(self) -> None:
        """Unmount it as one should."""
        assert self._driver is not None
        subprocess.run(["umount", self.folder], check=True)
        self._driver.wait(LIMIT)
        self._driver = None
        subprocess.run(["losetup", "--detach", self._device], check=True)


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[Stick]:
    made = Stick(tmp_path)
    made.put_in()
    yield made
    made.end()


def export(output: Path) -> list[str | Path]:
    return ["export", "--no-tool", f"--image={NAME}", "--part-size=1M", "-o", output]


def stopped(host: Site, folder: Path, part: str, event: Callable[[subprocess.Popen[str]], None]) -> str:
    """An export to which `event` happens once it writes this part; what it said."""
    running = programs.start(*PADDOCK, *export(folder), environment=host.environment())
    while not (folder / f"{part}.partial").exists():
        assert running.poll() is None
        time.sleep(0.001)
    event(running)
    _, said = running.communicate(timeout=LIMIT)
    assert running.returncode != 0
    return said


def test_an_export_onto_the_stick_and_an_import_from_it(
    host: Site, load: Load, stick: Stick, tmp_path: Path
) -> None:
    load([BEFORE])
    assert host.paddock(*export(tmp_path / "whole")).returncode == 0
    folder = stick.folder / "bundle"
    stopped(host, folder, "images.tar.003", lambda running: running.kill())
    said = stopped(host, folder, "images.tar.009", lambda _: stick.pull())
    assert "cannot be written to" in said, said
    assert "\nhint: " in said, said
    stick.put_in()
    succeeded(host.paddock(*export(folder)))
    assert contents_of(folder) == contents_of(tmp_path / "whole")
    stick.take_out()
    stick.put_in()
    verified = succeeded(host.paddock("verify", stick.folder / "BUNDLE"))  # exFAT ignores case
    assert "all as written" in verified
    host.engine.docker("image", "rm", NAME)
    succeeded(host.paddock("import", folder))
    assert host.layers(NAME) == [layer.diff_id for layer in BEFORE.layers]
    load([AFTER])
    succeeded(host.paddock(*export(stick.folder / "delta"), "--base", folder))
    carried = [layer.carried for layer in manifest_of(stick.folder / "delta").layers]
    assert carried == [Carried.BASE, Carried.RECIPE, Carried.BASE]
    assert host.paddock("verify", stick.folder / "delta").returncode == 0


def test_a_stick_that_becomes_full(host: Site, load: Load, stick: Stick, tmp_path: Path) -> None:
    load([BEFORE])
    assert host.paddock(*export(tmp_path / "whole")).returncode == 0
    whole = contents_of(tmp_path / "whole")
    filler, folder = stick.folder / "holiday.mov", stick.folder / "bundle"
    room = sum(map(len, whole.values())) - (1 << 20)
    filler.write_bytes(bytes(shutil.disk_usage(stick.folder).free - room))
    require_failure(host.paddock(*export(folder)), 7, "the disk is full", "goes on where it stopped")
    assert not (folder / "bundle.json").exists()
    filler.unlink()
    done = host.paddock(*export(folder))
    assert done.returncode == 0, done.stderr
    assert "going on after" in done.stderr
    assert contents_of(folder) == whole


def test_a_key_on_the_stick(stick: Stick, capsys: pytest.CaptureFixture[str]) -> None:
    key = stick.folder / "workshop.key"
    assert run(["keygen", str(key)]) == 0
    assert "keeps no owners of files" in capsys.readouterr().err
    assert run(["keygen", str(key)]) == 7
    assert "exists, expected a new file" in capsys.readouterr().err
    assert {path.name for path in stick.folder.iterdir()} == {"workshop.key", "workshop.key.pub"}


def test_results_whose_names_differ_only_in_case(
    stick: Stick, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One result never takes the place of another: the second is refused, in one run and in two."""
    folder, out = tmp_path / "in", stick.folder / "out"
    maker, api = Maker(folder), PipelineApi()
    for shade, name in enumerate(("Scan.png", "scan.png", "x/Other.png", "y/other.png")):
        maker.image(name, shade=shade)

    def parse(*names: str) -> tuple[int, dict[str, str]]:
        files = [str(folder / name) for name in names]
        status = run(["parse", *files, "-o", str(out), "--url", api.url, "--json"])
        documents = json.loads(capsys.readouterr().out)["documents"]
        return status, {Path(one["source"]).name: one["status"] for one in documents}

    try:
        assert parse("Scan.png", "scan.png") == (2, {"Scan.png": "done", "scan.png": "failed"})
        assert parse("scan.png") == (2, {"scan.png": "failed"})
        assert parse("Scan.png") == (0, {"Scan.png": "skipped"})
        assert parse("x/Other.png", "y/other.png") == (0, {"Other.png": "done", "other.png": "done"})
    finally:
        api.stop()
    assert sorted(path.relative_to(out).as_posix() for path in out.glob("**/document.md")) == [
        "Scan.png/document.md",
        "x/Other.png/document.md",
        "y/other.png/document.md",
    ]
