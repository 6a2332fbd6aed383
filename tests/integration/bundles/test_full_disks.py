"""Disks that fill up at every write of an export or import: clear words, and with room the command ends."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle_folders import contents_of
from layer_files import noise, text
from paddock import engine
from paddock.bundle.check import trust
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import Carried, parse
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.imagestore.tags import STAGING
from paddock.door import run
from samples import bundles
from site_engine import Load, SiteEngine
from site_host import Site
from small_images import SmallImage, gzipped, plain, tar

PAGE = 4096  # bytes: a file system in memory has room for whole pages, and takes not one more


class SmallDisk:
    """A file system whose room can grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def have(self, pages: int) -> None:
        """From now on it has this many pages, used ones among them."""
        subprocess.run(["mount", "-o", f"remount,size={pages * PAGE}", self.folder], check=True)

    def take(self, pages: int) -> None:
        """Something else fills these."""
        (self.folder / "taken").write_bytes(bytes(pages * PAGE))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    made.folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PAGE}", "tmpfs", made.folder], check=True)
    yield made
    subprocess.run(["umount", made.folder], check=True)


@pytest.mark.fault("disk full at the import")
def test_the_state_folder_fills_up_at_every_write(
    host: Site,
    disk: SmallDisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Lock, journal, folder of the stack, sequence numbers, what is installed: one page more each time."""
    monkeypatch.setenv("DOCKER_HOST", host.engine.address)
    monkeypatch.setenv("PADDOCK_STATE", str(disk.folder / "state"))
    signature.keygen(tmp_path / "key")
    manifest = bundles.write(tmp_path / "bundle")
    with OpenBundle.open([tmp_path / "bundle"]) as bundle:
        trust.sign_bundle(bundle, signature.read_secret(tmp_path / "key"))
    command = ["import", str(tmp_path / "bundle"), "--key", str(tmp_path / "key.pub")]
    refused: set[str] = set()
    disk.take(1)
    for pages in range(1, 40):
        disk.have(pages)
        if (status := run(command)) == 0:
            break
        said = capsys.readouterr().err
        assert status == 7, said
        assert "cannot be written (No space left on device)" in said, said
        assert "\nhint: " in said, said
        path = said.rpartition("error: ")[2].partition(": cannot")[0]
        refused.add(Path(path).relative_to(disk.folder).as_posix())
        assert {name for name in host.names() if STAGING not in name} in (set(), set(bundles.IMAGES))
    assert host.names() == set(bundles.IMAGES)
    assert refused == {
        "state/lock",
        f"state/imports/{manifest.id}.json",
        "state/stacks/stack.incoming",
        "state/sequences.json",
        f"state/bundles/{manifest.id}.json",
        "state/installed.json",
    }
    assert run(command) == 0
    assert "everything is in place already" in capsys.readouterr().err


PACKED = gzipped(tar({"lib": text(3 << 20)}))
PULLED = SmallImage(reference="full/pulled:1", layers=(PACKED,))


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "saved"])
@pytest.mark.fault("disk full at the import")
def test_no_room_to_unpack_what_a_delta_is_made_on(
    host: Site,
    load: Load,
    disk: SmallDisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    beside: bool,
) -> None:
    """A layer that came as gzip, or that only `docker save` gives, is unpacked beside the state."""
    monkeypatch.setenv("DOCKER_HOST", host.engine.address)
    monkeypatch.setenv("PADDOCK_STATE", str(disk.folder / "state"))
    if not beside:  # as from another machine
        monkeypatch.setattr(engine, "is_local", lambda: False)
    load([PULLED])
    bundles.write(tmp_path / "base", images={PULLED.reference: [PACKED.raw]})
    new = {PULLED.reference: [tar({"lib": text(3 << 20) + b"more"})]}
    delta = bundles.write(tmp_path / "delta", images=new, files={}, on=[PACKED.raw])
    command = ["import", str(tmp_path / "delta"), "--unsigned"]
    before = host.layers(PULLED.reference)
    disk.have(100)
    if beside and host.engine.store == "classic":  # there its files are read
        assert run(command) == 0
        return
    assert run(command) == 7
    said = capsys.readouterr().err
    assert "the base layers that are unpacked there meanwhile" in said, said
    assert "\nhint: " in said, said
    assert host.layers(PULLED.reference) == before
    assert {name for name in host.names() if STAGING in name} == set()
    assert run([*command, "--base", str(tmp_path / "base")]) == 0
    assert host.layers(PULLED.reference) == list(delta.images[0].layers)
    assert run(["rollback"]) == 0
    disk.have(5000)
    assert run(command) == 0
    assert host.layers(PULLED.reference) == list(delta.images[0].layers)


SYSTEM = plain(tar({"etc/hostname": b"site\n", "bin/sh": text(300_000)}))
BEFORE = SmallImage(reference="full/app:before", layers=(SYSTEM, plain(tar({"lib": noise(60_000, 3)}))))
# Each layer's recipe lies beside the parts until it is copied into them: the smallest layers are last, so the
# most room is needed at the end.
NEW = tuple(plain(tar({f"new-{halved}": noise(800_000 >> halved, halved)})) for halved in range(8))
AFTER = SmallImage(
    reference="full/app:1", layers=(SYSTEM, plain(tar({"lib": noise(60_000, 3) + text(5_000)})), *NEW)
)


def step_of(folder: Path) -> str:
    """What an export that stopped was writing."""
    there = set(contents_of(folder))
    steps = {
        "journal": "export.journal",
        "first part": "delta.tar.001.partial",
        "later part": "delta.tar.001",
        "documents": "SHA256SUMS",
        "bundle.json": "bundle.json",
        "signature": "bundle.json.minisig",
    }
    renamed = {"delta.tar.001.partial"} if "delta.tar.001" in there else set()
    return next(step for step, file in steps.items() if file not in there | renamed)


@pytest.mark.fault("disk full at the export")
def test_the_medium_fills_up_at_every_write(
    site: SiteEngine,
    load: Load,
    disk: SmallDisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A delta has all that an export writes: journal, parts, recipes, documents, manifest, signature."""
    monkeypatch.setenv("DOCKER_HOST", site.address)
    signature.keygen(tmp_path / "key")
    load([BEFORE, AFTER])
    assert run(["export", "--no-tool", f"--image={BEFORE.reference}", f"--output={tmp_path / 'before'}"]) == 0
    command = [
        "export",
        "--no-tool",
        f"--image={AFTER.reference}",
        "--part-size=1M",
        f"--base={tmp_path / 'before'}",
        f"--sign={tmp_path / 'key'}",
    ]
    assert run([*command, f"--output={tmp_path / 'whole'}"]) == 0
    whole = contents_of(tmp_path / "whole")
    manifest = parse(whole["bundle.json"])
    assert {layer.carried for layer in manifest.layers} == set(Carried)
    assert len(manifest.parts) == 2
    capsys.readouterr()
    needed = sum(-(-len(data) // PAGE) for data in whole.values())
    disk.take(1)
    output = disk.folder / "bundle"
    reached = set()

    def stops(pages: int) -> bool:
        disk.have(pages)
        if (status := run([*command, f"--output={output}"])) == 0:
            return False
        said = capsys.readouterr().err
        assert status == 7, said
        assert "(No space left on device)" in said, said
        assert "\nhint: " in said, said
        reached.add(step_of(output))
        return True

    for pages in (1, 2, 3, 4, needed // 2, needed * 4 // 5, needed - 10):  # with ever more room it goes on
        assert stops(pages)
    for pages in range(needed - 2, needed + 20):  # begun anew, it stops at the very end
        shutil.rmtree(output)
        if not stops(pages):
            break
        assert not stops(pages + 20)
        assert unsigned(output) == unsigned(tmp_path / "whole")
    assert reached == {"journal", "first part", "later part", "documents", "bundle.json", "signature"}


def unsigned(folder: Path) -> dict[str, bytes]:
    """A bundle without its signature, which holds the time."""
    return {name: data for name, data in contents_of(folder).items() if name != "bundle.json.minisig"}
