"""Bundles out of engines of both stores: onto full, small and read-only disks, and stopped at any point."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import programs
from bundle_folders import contents_of, manifest_of
from layer_files import LayerFiles, noise, text
from paddock import __version__
from paddock.bundle.export.contents import Contents, SourceImage
from paddock.bundle.export.journal import NAME as JOURNAL
from paddock.bundle.export.writing import write_bundle
from paddock.bundle.format.manifest import Manifest
from paddock.bundle.format.signature import keygen
from programs import PADDOCK, Finished, docker, require_failure, succeeded
from recording import Recorder
from site_engine import Load, SiteEngine, site_engine
from small_images import (
    WAITS,
    SmallImage,
    digest,
    every_kind_of_member,
    gzipped,
    plain,
    program,
    tar,
)

BASE = plain(tar({"etc/hostname": b"site\n"}))
ONE = SmallImage(
    reference="export/one:1",
    layers=(
        BASE,
        gzipped(tar({"lib": text(3 << 20), "noise": noise(3 << 20)})),
        plain(tar({}, more=every_kind_of_member)),
    ),
)
TWO = SmallImage(reference="export/two:2", layers=(BASE, plain(tar({"weights": noise(12 << 20, 1)}))))
ARM = SmallImage(reference="export/arm:1", layers=(BASE,), platform="linux/arm64")
LIMIT = 300  # seconds


@pytest.fixture
def images(site: SiteEngine, load: Load) -> SiteEngine:
    load([ONE, TWO, ARM])
    return site


def command(output: Path, *arguments: str) -> list[str]:
    return [*PADDOCK, "export", "--no-tool", "--part-size=1M", f"--output={output}", *arguments]


BOTH = (f"--image={ONE.reference}", f"--image={TWO.reference}")


def exported(site: SiteEngine, output: Path, *arguments: str, **environment: str) -> Finished:
    argv = command(output, *(arguments or BOTH))
    return programs.run(*argv, environment={**site.environment(), **environment}, limit=LIMIT)


def load_sh(site: SiteEngine, folder: Path, *arguments: str | Path) -> Finished:
    argv = site.enter(folder / "load.sh", *arguments)
    return programs.run(*argv, environment=site.environment(), limit=LIMIT)


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The same bundle, from layers that never saw an engine."""
    folder = tmp_path_factory.mktemp("expected")
    source = LayerFiles(folder / "layers")
    for layer in (*ONE.layers, *TWO.layers):
        source.add(layer.raw)
    images = tuple(
        SourceImage(
            reference=image.reference,
            platform=image.platform,
            config=image.config,
            layers=tuple(layer.diff_id for layer in image.layers),
        )
        for image in (ONE, TWO)
    )
    contents = Contents(platform="linux/amd64", stack=None, images=images, files=())
    return write_bundle(contents, folder / "bundle", source, report=Recorder(), part_size=1 << 20)


def test_either_store_gives_the_same_bytes_and_load_sh_takes_them_back(
    images: SiteEngine, expected: Manifest, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    done = exported(images, folder)
    assert done.returncode == 0, done.stderr
    assert manifest_of(folder).parts == expected.parts
    images.docker("image", "rm", "--force", ONE.reference, TWO.reference)
    stray = folder / "images.tar.099"
    stray.write_bytes(b"of an older, longer export")
    require_failure(load_sh(images, folder), 7, "images.tar.099: is not a file of this bundle")
    stray.unlink()
    for _ in range(2):  # the second time everything is there
        loaded = load_sh(images, folder)
        assert loaded.returncode == 0, loaded.stderr
        assert "all images are there" in loaded.stderr
    for image in (ONE, TWO):
        assert images.layers(image.reference) == [layer.diff_id for layer in image.layers]
    if images.store == "classic":
        identity = images.docker("image", "inspect", "--format", "{{.Id}}", ONE.reference).strip()
        assert identity == digest(ONE.config)
    assert not [name for name in images.names() if "previous" in name]


def test_the_image_that_had_the_name_is_kept(images: SiteEngine, tmp_path: Path) -> None:
    assert exported(images, tmp_path / "bundle").returncode == 0
    images.docker("image", "rm", "--force", TWO.reference)
    images.docker("tag", ONE.reference, TWO.reference)
    loaded = load_sh(images, tmp_path / "bundle")
    assert loaded.returncode == 0, loaded.stderr
    assert images.layers(f"{TWO.reference}-previous") == [layer.diff_id for layer in ONE.layers]


@pytest.mark.parametrize("damage", ["flip", "missing", "another part"])
@pytest.mark.fault("load.sh: damaged bundle")
def test_load_sh_touches_no_engine_for_a_damaged_bundle(
    images: SiteEngine, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "bundle"
    assert exported(images, folder).returncode == 0
    images.docker("image", "rm", "--force", ONE.reference, TWO.reference)
    part = folder / "images.tar.003"
    if damage == "flip":
        data = bytearray(part.read_bytes())
        data[777] ^= 4
        part.write_bytes(data)
    elif damage == "missing":
        part.unlink()
    else:
        shutil.copy(folder / "images.tar.004", part)
    done = load_sh(images, folder)
    assert done.returncode == 7
    assert "images.tar.003" in done.stderr + done.stdout
    assert ONE.reference not in images.names()


@pytest.mark.fault("load.sh: disk full")
def test_load_sh_leaves_an_engine_whose_disk_fills_up_as_it_was(images: SiteEngine, tmp_path: Path) -> None:
    names = ("export/large:1", "export/small:1")
    large = SmallImage(reference=names[0], layers=(BASE, plain(tar({"weights": noise(120 << 20)}))))
    small = SmallImage(reference=names[1], layers=(BASE, plain(tar({"x": b"new"}))))
    before = SmallImage(reference=names[1], layers=(plain(tar({"x": b"old"})),))
    images.load([small, large])
    assert exported(images, tmp_path / "bundle", *(f"--image={name}" for name in names)).returncode == 0
    with site_engine(images.store, size=160 << 20) as tight:
        tight.load([before])
        done = load_sh(tight, tmp_path / "bundle")
        require_failure(done, 7, "every name leads to the image that it led to before")
        assert tight.names() == [names[1]]
        assert tight.layers(names[1]) == [layer.diff_id for layer in before.layers]


@pytest.mark.needs("skopeo")
def test_skopeo_reads_the_joined_parts(images: SiteEngine, tmp_path: Path) -> None:
    assert exported(images, tmp_path / "bundle").returncode == 0
    joined = tmp_path / "images.tar"
    parts = sorted((tmp_path / "bundle").glob("images.tar.*"))
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    for number, image in enumerate((ONE, TWO)):
        source, target = f"oci-archive:{joined}:{image.reference}", f"dir:{tmp_path}/{number}"
        succeeded(programs.run("skopeo", "copy", source, target))


# --- stopped ------------------------------------------------------------------------------------------------

LAYERS = 4  # of both images together


def has_written(folder: Path, *, layers: int) -> bool:
    """Whether the journal has a line for each of so many layers, behind its first line."""
    try:
        return (folder / JOURNAL).read_bytes().count(b"\n") > layers
    except FileNotFoundError:
        return False


STOPS: dict[str, Callable[[Path], bool]] = {
    "journal made": lambda folder: (folder / JOURNAL).exists(),
    "first bytes": lambda folder: (folder / "images.tar.000.partial").exists(),
    **{f"{count} layers": partial(has_written, layers=count) for count in range(1, LAYERS + 1)},
    "parts named": lambda folder: (folder / "images.tar.001").exists(),
    "described": lambda folder: (folder / "bundle.json").exists(),
}


@pytest.mark.fault("kill -9 of the export")
def test_killed_at_every_step_it_goes_on_and_gives_the_same_bytes(images: SiteEngine, tmp_path: Path) -> None:
    assert exported(images, tmp_path / "whole").returncode == 0
    folder = tmp_path / "killed"
    killed = [step for step, reached in STOPS.items() if kill_at(images, folder, reached)]
    assert len(killed) > len(STOPS) // 2, f"only stopped at {killed}"
    done = exported(images, folder)
    assert done.returncode == 0 or "expected an empty directory" in done.stderr, done.stderr
    assert contents_of(folder) == contents_of(tmp_path / "whole")


def kill_at(site: SiteEngine, folder: Path, reached: Callable[[Path], bool]) -> bool:
    """Start the export and kill it as soon as the step is reached; False where it had ended by then."""
    if (folder / "bundle.json").exists() and not (folder / JOURNAL).exists():
        return False
    running = subprocess.Popen(
        command(folder, *BOTH),
        env={**os.environ, **site.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while running.poll() is None and not reached(folder):
        time.sleep(0.001)
    alive = running.poll() is None
    running.kill()
    return running.wait() == -signal.SIGKILL and alive


def test_ctrl_c_ends_it_in_order(images: SiteEngine, tmp_path: Path) -> None:
    running = programs.start(*command(tmp_path / "bundle", *BOTH), environment=images.environment())
    while not (tmp_path / "bundle/images.tar.002.partial").exists():
        assert running.poll() is None
        time.sleep(0.001)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=LIMIT)
    assert running.returncode == 130, said
    assert "not finished" in said
    assert exported(images, tmp_path / "bundle").returncode == 0


# --- media --------------------------------------------------------------------------------------------------


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """A folder that is a file system of its own, with so many bytes."""
    image, medium = folder / "disk.img", folder / "medium"
    image.touch()
    os.truncate(image, size)
    medium.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, medium], check=True)
    try:
        yield medium
    finally:
        subprocess.run(["umount", medium], check=True)


@pytest.mark.fault("disk full at the export")
def test_a_disk_that_fills_up(images: SiteEngine, tmp_path: Path) -> None:
    assert exported(images, tmp_path / "whole").returncode == 0
    with disk(tmp_path, 40 << 20) as medium:
        whole = contents_of(tmp_path / "whole")
        needed = sum(map(len, whole.values()))
        filler = medium / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(medium).free - needed + (1 << 20)))
        full = exported(images, medium / "bundle")
        require_failure(full, 7, "the disk is full", "goes on where it stopped")
        assert not (medium / "bundle/bundle.json").exists()
        filler.unlink()
        succeeded(exported(images, medium / "bundle"))
        assert contents_of(medium / "bundle") == whole


@pytest.mark.fault("disk full at the export")
def test_a_disk_that_is_surely_too_small_is_refused_first(images: SiteEngine, tmp_path: Path) -> None:
    with disk(tmp_path, 8 << 20) as medium:
        done = exported(images, medium / "bundle")
        assert done.returncode in {7, 9}
        if images.store == "classic":
            assert done.returncode == 9
            assert "bytes free" in done.stderr
            assert not (medium / "bundle").exists()


@pytest.mark.fault("read-only medium")
def test_a_medium_that_cannot_be_written(images: SiteEngine, tmp_path: Path) -> None:
    with disk(tmp_path, 40 << 20) as medium:
        subprocess.run(["mount", "-o", "remount,ro", medium], check=True)
        require_failure(exported(images, medium / "bundle"), 7, "cannot be written to")


# --- what is carried ----------------------------------------------------------------------------------------


def test_what_does_not_fit_together_is_refused(images: SiteEngine, tmp_path: Path) -> None:
    mixed = exported(images, tmp_path / "bundle", *BOTH, f"--image={ARM.reference}")
    assert mixed.returncode == 7
    assert "linux/amd64 and linux/arm64" in mixed.stderr
    absent = exported(images, tmp_path / "bundle", "--image=export/absent:1")
    assert absent.returncode == 9
    assert "export/absent:1" in absent.stderr
    assert not (tmp_path / "bundle").exists()


@pytest.fixture
def _closed_files() -> Iterator[None]:
    """New files are for their owner only, as hardened hosts have it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_closed_files")
def test_a_stack_with_its_settings(site: SiteEngine, load: Load, tmp_path: Path) -> None:
    names = [f"carried/cpu-{part}:{__version__}" for part in ("api", "vllm")]
    load([SmallImage(reference=name, layers=(plain(tar({name: b"x"})),)) for name in names])
    keygen(tmp_path / "key")
    done = exported(site, tmp_path / "bundle", "cpu", f"--sign={tmp_path / 'key'}", IMAGE_PREFIX="carried/")
    assert done.returncode == 0, done.stderr
    manifest = manifest_of(tmp_path / "bundle")
    assert [image.reference for image in manifest.images] == names
    assert manifest.stack is not None
    assert (manifest.stack.name, manifest.stack.backend, manifest.stack.variant) == ("cpu", "vllm", "online")
    paths = {file.path for file in manifest.files}
    assert {"load.sh", "README.txt", "stack/compose.yaml", "stack/pipeline.yaml", "stack/vlm.yaml"} <= paths
    assert "IMAGE_PREFIX=carried/\n" in (tmp_path / "bundle/stack/.env.example").read_text("utf-8")
    signature = (tmp_path / "bundle/bundle.json.minisig").read_text("ascii")
    assert signature.count(f"bundle:{manifest.id} sequence:") == 1
    into = tmp_path / "site"
    into.mkdir()
    (into / ".env").write_text("API_PORT=9\nIMAGE_PREFIX=old/\nIMAGE_VERSION=0\n", "ascii")
    loaded = load_sh(site, tmp_path / "bundle", "--no-start", "--into", into)
    assert loaded.returncode == 0, loaded.stderr
    settings = (into / ".env").read_text("ascii").split()
    assert settings[0] == "API_PORT=9"
    assert {"IMAGE_PREFIX=carried/", f"IMAGE_VERSION={__version__}", "PULL_POLICY=never"} < set(settings)
    assert "IMAGE_PREFIX=old/" not in settings
    assert {(into / name).stat().st_mode & 0o777 for name in ("pipeline.yaml", "vlm.yaml")} == {0o644}
    assert set(docker("compose", "config", "--images", cwd=into).split()) == set(names)


TINY = """name: tiny
services:
  api:
    image: ${IMAGE_PREFIX}cpu-api:${IMAGE_VERSION}
    pull_policy: ${PULL_POLICY}
    stop_signal: SIGKILL
  vlm:
    image: ${IMAGE_PREFIX}cpu-vllm:${IMAGE_VERSION}
    pull_policy: ${PULL_POLICY}
    stop_signal: SIGKILL
"""


def test_load_sh_starts_the_stack_from_parts_on_two_media(
    site: SiteEngine, load: Load, tmp_path: Path, repository: Path
) -> None:
    shutil.copytree(repository / "compose/cpu", tmp_path / "shop/compose/cpu")
    (tmp_path / "shop/compose/cpu/compose.yaml").write_text(TINY, "ascii")
    waiting = [
        SmallImage(
            reference=f"tiny/cpu-{part}:{__version__}",
            layers=(plain(tar({"bin/true": program(WAITS), part: noise(900_000)})),),
        )
        for part in ("api", "vllm")
    ]
    load(waiting)
    done = exported(site, tmp_path / "one", "cpu", IMAGE_PREFIX="tiny/", PADDOCK_ROOT=str(tmp_path / "shop"))
    assert done.returncode == 0, done.stderr
    site.docker("image", "rm", *(image.reference for image in waiting))
    (tmp_path / "two/stack").mkdir(parents=True)
    for name in ("images.tar.001", "stack/compose.yaml"):
        shutil.move(tmp_path / "one" / name, tmp_path / "two" / name)
    require_failure(load_sh(site, tmp_path / "one"), 7, "images.tar.001")
    into = tmp_path / "site"
    try:
        loaded = load_sh(site, tmp_path / "one", tmp_path / "two", "--into", into)
        assert loaded.returncode == 0, loaded.stderr
        assert "cpu runs" in loaded.stderr
        running = site.docker("ps", "--format", "{{.Image}} {{.State}}").splitlines()
        assert sorted(running) == [f"{image.reference} running" for image in waiting]
        assert not any(path.is_symlink() for path in into.rglob("*"))
    finally:
        site.remove_containers()
        site.docker("network", "prune", "--force")
