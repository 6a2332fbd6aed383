"""The life of a stack behind an air gap: carried, started, asked; the next release as a delta; and back.

Everything is real: images of the cpu target with the embedded model, engines without any route, and at the
site only sh, coreutils, sed, grep and docker: `paddock` is the script in the bundle. What was drawn on a page
is what must be read from it, and each release must read the same.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import programs
from bundle_folders import manifest_of, size_of_parts
from paddock.bundle.format.manifest import Carried
from paddock.bundle.format.receipt import parse_receipt
from paddock.bundle.imagestore.store import Store
from paddock.smoke.reading import characters
from paddock.weights.markers import NOTICE
from programs import docker, succeeded
from samples.drawn import document
from site_engine import SiteEngine, site_engine
from site_programs import lines_of_the_guide, path_with
from workshop import Workshop

STACK = ("cpu", "--backend", "llama.cpp", "--model", "embedded")
NAME = "cpu-llama.cpp-embedded-offline"
PART = 100_000_000
PACKAGE, OTHER = "idna", "3.10"  # pure Python; the next release has this other version of it
OTHER_HASH = "sha256:946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3"
CHARACTERS_WRONG = 0.03


@dataclass(frozen=True, kw_only=True, slots=True)
class Releases:
    """The side with a network: two releases of one stack, and bundles of them below `folder`."""

    shop: Workshop  # with a workspace of its own
    folder: Path
    images: tuple[str, ...]  # of the stack
    tool: str
    version: str  # of PACKAGE in the first release

    @property
    def key(self) -> Path:
        return self.folder / "workshop.key"

    def run(self, *arguments: str | Path) -> str:
        return succeeded(self.shop.paddock(*arguments, PADDOCK_STATE=str(self.folder / "state")))

    def export(self, name: str, *arguments: str | Path) -> Path:
        """A signed bundle; one that is there already is not made again."""
        folder = self.folder / name
        if not (folder / "bundle.json").exists():
            self.run("export", *arguments, "--output", folder, "--sign", self.key)
            print(f"{name}: {size_of_parts(folder):,} bytes in {len(manifest_of(folder).parts)} parts")
        return folder

    def has(self, release: str) -> None:
        """From now on the names of the stack's images lead to this release."""
        for image in self.images:
            docker("tag", f"{image}-{release}", image)


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The host at the site, where nothing of ours is installed."""

    engine: SiteEngine
    folder: Path
    script: Path  # `paddock`, as it came

    @property
    def stack(self) -> Path:
        return self.folder / "state/stacks" / NAME

    def sh(self, *argv: str | Path) -> str:
        """Run a program as the operator of this host does; what it prints."""
        nsenter, *command = self.engine.enter(*argv)
        environment = {
            **self.engine.environment(),
            "PATH": str(self.folder / "bin"),
            "HOME": str(self.folder),
            "PADDOCK_STATE": str(self.folder / "state"),
        }
        program = shutil.which(nsenter) or nsenter  # it is not among the programs of a site
        done = programs.run(program, *command, cwd=self.folder, environment=environment, inherit=False)
        return succeeded(done)

    def paddock(self, *arguments: str | Path) -> str:
        return self.sh("sh", self.script, *arguments)

    def read(self, page: Path) -> str:
        """Start the stack and have it read a page."""
        assert NOTICE in self.paddock("up", self.stack)
        self.paddock("parse", page, "--output", self.folder / "read", "--force")
        return (self.folder / "read" / page.name / "document.md").read_text("utf-8")

    def package(self) -> str:
        """The version of PACKAGE that runs."""
        (container,) = self.engine.docker("ps", "--quiet", "--filter", "name=api").split()
        code = f"import importlib.metadata as m; print(m.version('{PACKAGE}'))"
        return self.engine.docker("exec", container, "python", "-c", code).strip()

    def receipt(self, name: str) -> Path:
        """What it says that it holds."""
        path = self.folder / f"{name}.receipt.json"
        self.paddock("receipt", "--output", path)
        receipt = parse_receipt(path.read_bytes(), where=str(path))
        assert receipt.free > 0, "the engine's disk was not seen"
        assert {bool(layer.blob) for layer in receipt.layers} == {self.engine.store == "containerd"}
        return path

    def has_layers_of(self, bundle: Path) -> None:
        """Every image of the bundle is here under its name, layer by layer."""
        for image in manifest_of(bundle).images:
            assert tuple(self.engine.layers(image.reference)) == image.layers, image.reference


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that containers can see into, on a disk; pytest's are private."""
    with tempfile.TemporaryDirectory(prefix="paddock-gap-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="module")
def workshop(shop: Workshop, place: Path) -> Iterator[Releases]:
    """Both releases, built.

    They differ in PACKAGE, so that one layer of 1.5 GB is another one, in which each file has a new time.
    """
    own = dataclasses.replace(shop, root=place / "workspace", models=place / "models")
    for name in ("images", "compose"):
        shutil.copytree(shop.root / name, own.root / name)
    images = tuple(f"{shop.image(name)}-embedded-offline" for name in ("cpu-api", "cpu-llama.cpp"))
    made = Releases(
        shop=own,
        folder=place,
        images=images,
        tool=shop.image("tool"),
        version=changed_package(own.root, write=False),
    )
    made.run("build", "tool")
    made.run("models", "fetch", "embedded", "--backend", "llama.cpp")
    for variant in ((), ("--offline",)):
        made.run("render", *STACK, *variant)
    made.run("keygen", made.key)
    try:
        for release in ("1", "2"):
            if release == "2":
                changed_package(own.root, write=True)
            made.run("build", *STACK, "--offline")
            for image in images:
                docker("tag", image, f"{image}-{release}")
        yield made
    finally:
        names = [made.tool, *images, *(f"{image}-{release}" for image in images for release in "12")]
        docker("image", "rm", "--force", *names, check=False)


def changed_package(root: Path, *, write: bool) -> str:
    """The version of PACKAGE that the pipeline API is built with; changed to OTHER."""
    versions = set()
    for lock in (root / "images/cpu/api").glob("requirements.*.txt"):
        text = lock.read_text("utf-8")
        versions |= set(re.findall(rf"(?m)^{PACKAGE}==(\S+)", text))
        if write:
            other = f"{PACKAGE}=={OTHER} --hash={OTHER_HASH}"
            lock.write_text(re.sub(rf"(?m)^{PACKAGE}==.+$", other, text), "utf-8")
    (version,) = versions
    assert version != OTHER
    return str(version)


@pytest.fixture(scope="module")
def full(workshop: Releases) -> Path:
    """The first release as it is carried."""
    workshop.has("1")
    return workshop.export("full", *STACK, "--offline", "--part-size", f"{PART}")


@pytest.fixture(params=["classic", "containerd"])
def host(request: pytest.FixtureRequest, place: Path) -> Iterator[Host]:
    folder = place / request.param
    path_with(folder / "bin", "docker", "openssl")
    with site_engine(request.param) as engine:
        yield Host(engine=engine, folder=folder, script=folder / "paddock")


@pytest.fixture(scope="module")
def page(place: Path) -> tuple[Path, str]:
    """A page and what stands on it."""
    drawn = document(random.Random(2), 1)
    path = place / "page.png"
    path.write_bytes(drawn.file("PNG"))
    return path, "\n".join(drawn.lines[0])


def test_a_release_its_delta_and_back(
    host: Host, workshop: Releases, full: Path, page: tuple[Path, str]
) -> None:
    path, drawn = page
    arrives(host, workshop, full)
    first = host.read(path)
    assert characters(first, drawn, limit=CHARACTERS_WRONG).ok, (first, drawn)
    assert not characters(first, drawn[::-1], limit=0.5).ok  # so this can fail
    assert host.package() == workshop.version

    delta = next_release(workshop, host.receipt("before"))
    host.paddock("verify", delta)
    host.paddock("import", delta)
    host.has_layers_of(delta)
    if host.engine.store is Store.CONTAINERD:  # the same layers are the same images in the classic store
        assert host.read(path) == first
        assert host.package() == OTHER

    host.paddock("rollback")
    host.has_layers_of(full)
    if host.engine.store is Store.CLASSIC:  # test_standins.py leads that one from one target to another
        return
    assert host.read(path) == first
    assert host.package() == workshop.version

    without_weights(host, workshop, full)
    weights = to_offline(workshop, host.receipt("online"))
    host.paddock("import", weights)
    host.has_layers_of(full)  # the images that were read with above


def arrives(host: Host, workshop: Releases, full: Path) -> None:
    """The first bundle: the tool alone, which then imports parts from two media, or all with load.sh."""
    media = spread(full, host.folder) if host.engine.store == "classic" else (full,)
    if len(media) > 1:
        alone = workshop.export("tool", "--image", workshop.tool)
        for lines in lines_of_the_guide("openssl"):  # before anything of it runs
            host.sh("sh", "-euc", f'cd "$0"; KEY=$1\n{lines}', alone, f"{workshop.key}.pub")
        host.sh("sh", alone / "load.sh", "--key", f"{workshop.key}.pub")
        shutil.copy(alone / "paddock", host.script)
    else:
        host.sh("sh", full / "load.sh", "--key", f"{workshop.key}.pub", "--no-start")
        shutil.copy(full / "paddock", host.script)
    host.paddock("trust", "add", f"{workshop.key}.pub")
    host.paddock("verify", *media)
    host.paddock("import", *media)
    host.has_layers_of(full)
    assert '"changed": false' in host.paddock("import", *reversed(media), "--json")


def spread(bundle: Path, folder: Path) -> tuple[Path, Path]:
    """The files of a bundle on two media, every other part on the second."""
    first, second = folder / "medium-1", folder / "medium-2"
    shutil.copytree(bundle, first, copy_function=os.link)
    second.mkdir()
    for part in sorted(first.glob("images.tar.*"))[1::2]:
        part.rename(second / part.name)
    assert max(part.stat().st_size for part in second.iterdir()) == PART
    return first, second


def next_release(workshop: Releases, receipt: Path) -> Path:
    """As a delta on what the site says that it has."""
    workshop.has("2")
    delta = workshop.export("delta", *STACK, "--offline", "--base", receipt)
    made = [layer for layer in manifest_of(delta).layers if layer.carried is Carried.RECIPE]
    assert max(layer.raw_size for layer in made) > 300_000_000
    assert size_of_parts(delta) < 2_000_000
    return delta


def without_weights(host: Host, workshop: Releases, full: Path) -> None:
    """Have the site hold the online variant alone: its images lie below those of the offline one."""
    workshop.has("1")
    online = workshop.export("online", *STACK, "--base", full)
    host.paddock("import", online)
    host.engine.remove_containers()
    offline = [name for name in host.engine.names() if "-offline" in name]
    host.engine.docker("image", "rm", "--force", *offline)
    host.has_layers_of(online)


def to_offline(workshop: Releases, receipt: Path) -> Path:
    """The weights for a site that has the online variant: they arrive, the rest is there."""
    delta = workshop.export("to-offline", *STACK, "--offline", "--base", receipt)
    carried = {layer.diff_id for layer in manifest_of(delta).layers if layer.carried is not Carried.BASE}
    held = {layer.diff_id for layer in parse_receipt(receipt.read_bytes(), where=str(receipt)).layers}
    assert carried
    assert not carried & held
    return delta
