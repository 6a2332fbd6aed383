"""What goes wrong while a good bundle comes in: clear words, status 7, the engine unchanged or complete."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layer_files import noise
from paddock.bundle.check import trust
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import StackName
from paddock.bundle.format.reader import OpenBundle
from programs import require_failure, succeeded
from samples import bundles
from site_engine import site_engine
from site_host import Site

NEW = "paddock/cpu-api:0.1.0"
HOLD_THE_LOCK = """
import sys
from pathlib import Path
from paddock.bundle.site import state
with state.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
STACK = StackName(name="cu126", target="cu126", backend="vllm", model="paddleocr-vl-1.6", variant="online")


@pytest.mark.fault("stolen older bundle")
def test_a_bundle_that_is_older_than_what_was_imported(host: Site, tmp_path: Path) -> None:
    signature.keygen(tmp_path / "key")
    assert host.paddock("bundle", "trust", tmp_path / "key.pub").returncode == 0
    newer = bundles.write(tmp_path / "newer", files={})
    bundles.write(tmp_path / "bundle")
    for folder, sequence in ((tmp_path / "bundle", 1), (tmp_path / "newer", 2)):
        with OpenBundle.open([folder]) as bundle:
            trust.sign_bundle(bundle, signature.read_secret(tmp_path / "key"), sequence=sequence)
    assert host.paddock("import", tmp_path / "newer").returncode == 0
    host.refuses("import", tmp_path / "bundle", words="has sequence 1, expected at least 2")
    assert host.layers(NEW) == list(newer.images[0].layers)


@pytest.mark.fault("another target")
def test_a_target_for_other_cards(host: Site, tmp_path: Path, repository: Path) -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this host has the card that the bundle is for")
    stack = repository / "compose/cu126"
    paths = [path for path in stack.rglob("*") if path.is_file() and path.name != ".env"]
    files = {f"stack/{path.relative_to(stack)}": path.read_bytes() for path in paths}
    bundles.write(tmp_path / "bundle", files=files, stack=STACK)
    host.refuses(
        "import", tmp_path / "bundle", words="cu126 is not for this host; driver of this host: found none"
    )
    assert host.names() == set()
    assert host.paddock("import", tmp_path / "bundle", "--any-host").returncode == 0
    assert host.names() == set(bundles.IMAGES)


@pytest.mark.fault("two imports at once")
def test_two_imports_at_once(host: Site, tmp_path: Path) -> None:
    bundles.write(tmp_path / "bundle")
    host.state.mkdir(parents=True)
    argv = [sys.executable, "-c", HOLD_THE_LOCK, str(host.state)]
    holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        host.refuses("import", tmp_path / "bundle", words=f"is under way (process {holder.pid})")
        holder.communicate("")
    assert host.paddock("import", tmp_path / "bundle").returncode == 0


@pytest.mark.fault("base by layer, not by blob")
def test_a_base_layer_whose_blob_is_lost(host: Site, tmp_path: Path) -> None:
    """In the containerd store a layer may be unpacked while its blob is gone; the classic has no blobs."""
    first = bundles.write(tmp_path / "first")
    raws = {NEW: [bundles.LAYERS[0], bundles.layer_tar({"a": b"b"})]}
    bundles.write(tmp_path / "second", images=raws, on=bundles.LAYERS[:2])
    assert host.paddock("import", tmp_path / "first").returncode == 0
    if host.engine.store == "classic":
        assert host.paddock("import", tmp_path / "second").returncode == 0
        return
    content = host.engine.data_root / "containerd/daemon/io.containerd.content.v1.content/blobs"
    (content / first.layers[0].digest.replace(":", "/")).unlink()
    host.refuses("import", tmp_path / "second", words="needs 1 of 2 base layers that are not here")
    succeeded(host.paddock("import", tmp_path / "second", "--base", tmp_path / "first"))


def test_ctrl_c_says_how_it_goes_on(host: Site, tmp_path: Path) -> None:
    bundles.write(
        tmp_path / "bundle", images={NEW: [bundles.LAYERS[0], large(1)]}, part_size=50 << 20, frame=1 << 20
    )
    stopped = host.meanwhile(
        "import",
        tmp_path / "bundle",
        event=lambda: os.kill(int((host.state / "lock").read_bytes()), signal.SIGINT),
    )
    require_failure(stopped, 130, "`paddock import --abandon` removes that")
    assert NEW not in host.names()
    assert host.paddock("import", "--abandon").returncode == 0
    assert host.names() == set()


# --- faults that hit the engine or the medium while layers are loaded ---------------------------------------


@pytest.fixture(params=["classic", "containerd"])
def small_host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """An engine of its own on a file system of 400 MB."""
    with site_engine(request.param, size=400 << 20) as engine:
        yield Site(engine=engine, state=tmp_path / "state")


def large(seed: int) -> bytes:
    return bundles.layer_tar({f"noise-{seed}": noise(24 << 20, seed)})


@pytest.mark.fault("disk full at the import")
def test_a_full_disk(small_host: Site, tmp_path: Path) -> None:
    """Refused before anything is sent; and where the disk fills up meanwhile, taken away again."""
    raws = {NEW: [large(seed) for seed in range(3)]}
    manifest = bundles.write(tmp_path / "bundle", images=raws, part_size=50 << 20, frame=1 << 20)
    taken = small_host.engine.folder / "taken"

    def leave(room: int) -> None:
        with taken.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_host.engine.folder).free - room)

    leave(60 << 20)
    small_host.refuses("import", tmp_path / "bundle", words="bytes free, expected")
    taken.unlink()
    for room in (2 << 20, 30 << 20, 52 << 20):  # for the first layer, the second, the third
        full = small_host.meanwhile("import", tmp_path / "bundle", event=functools.partial(leave, room))
        require_failure(full, 7, "no space left")
        assert small_host.names() == set()
        taken.unlink()
    succeeded(small_host.paddock("import", tmp_path / "bundle"))
    assert small_host.layers(NEW) == list(manifest.images[0].layers)
    # a delta of a few kilobytes, whose layer takes 24 MB where it is made
    made = {NEW: [raws[NEW][0], bundles.layer_tar({"noise-9": noise(24 << 20, 1)})]}
    delta = bundles.write(tmp_path / "delta", images=made, part_size=50 << 20, frame=1 << 20, on=raws[NEW])
    assert sum(part.size for part in delta.parts) < 1 << 20
    leave(80 << 20)
    for arguments in ([], ["--plan"]):
        small_host.refuses("import", tmp_path / "delta", *arguments, words="bytes free, expected")
    assert small_host.layers(NEW) == list(manifest.images[0].layers)
    taken.unlink()
    succeeded(small_host.paddock("import", tmp_path / "delta"))
    assert small_host.layers(NEW) == list(delta.images[0].layers)


@pytest.mark.fault("engine restarted")
def test_the_engine_is_restarted_in_the_middle(small_host: Site, tmp_path: Path) -> None:
    manifest = bundles.write(
        tmp_path / "bundle", images={NEW: [large(1), bundles.LAYERS[0]]}, part_size=50 << 20, frame=1 << 20
    )
    broken = small_host.meanwhile("import", tmp_path / "bundle", event=small_host.engine.kill)
    require_failure(broken, 7, "broke off")
    small_host.engine.start()
    succeeded(small_host.paddock("import", tmp_path / "bundle"))
    assert small_host.names() == {NEW}
    assert small_host.layers(NEW) == list(manifest.images[0].layers)


@pytest.mark.fault("medium removed")
def test_the_medium_is_removed_in_the_middle(small_host: Site, tmp_path: Path) -> None:
    manifest = bundles.write(
        tmp_path / "bundle", images={NEW: [bundles.LAYERS[0], large(1)]}, part_size=1 << 20, frame=1 << 20
    )
    hidden = tmp_path / "elsewhere"
    broken = small_host.meanwhile(
        "import", tmp_path / "bundle", event=lambda: (tmp_path / "bundle").rename(hidden)
    )
    require_failure(broken, 7, "cannot be read")
    assert NEW not in small_host.names()
    hidden.rename(tmp_path / "bundle")
    succeeded(small_host.paddock("import", tmp_path / "bundle"))
    assert small_host.layers(NEW) == list(manifest.images[0].layers)
