"""Bundles that must not come in: status 7, clear words, and the engine has what it had before.

Each row of the tables is one fault of one medium. `paddock import` runs in this process, and reaches a real
engine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from layer_files import noise
from paddock.bundle.check import sequences, trust
from paddock.bundle.check.keys import KeyStore
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import MANIFEST, SIGNATURE, SUMS, Manifest, StackName
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.revoked import REVOKED, revoked_to_bytes
from paddock.bundle.imagestore import store as image_store
from paddock.door import run
from samples import bundles
from samples.tampered import TAMPERED
from site_engine import SiteEngine
from site_host import Site
from small_images import SmallImage, archive, plain, tar

KEY, STRANGER = signature.generate(), signature.generate()
SEQUENCE = 20
BEFORE = (
    SmallImage(
        reference="paddock/cpu-api:0.1.0", layers=(plain(tar({"opt/app.py": b"the release before"})),)
    ),
    SmallImage(reference="elsewhere/other:1", layers=(plain(tar({"etc/hostname": b"of somebody else"})),)),
)
FILES = {**bundles.FILES, "load.sh": b"#!/bin/sh\n", "docs/airgap.md": b"# Across an air gap\n"}
CARDS = StackName(name="cu126", target="cu126", backend="vllm", model="paddleocr-vl-1.6", variant="online")
BASE = "base layers that are not here"


@dataclass
class Medium:
    """What was carried to the site. `given` are the folders that its operator names, `folder` without any."""

    home: Path
    good: Path  # the bundle that the workshop wrote
    older: Path  # what it wrote before
    given: list[Path] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.home / "bundle"

    @property
    def manifest(self) -> Manifest:
        with OpenBundle.open([self.good]) as bundle:
            return bundle.manifest

    def change(self, name: str, change: Callable[[bytes], bytes]) -> None:
        path = self.folder / name
        path.write_bytes(change(path.read_bytes()))

    def put_another(self, *, sign: bool = True, **changes: Any) -> None:
        """Another bundle takes its place; a hostile workshop signs it."""
        shutil.rmtree(self.folder)
        bundles.write(self.folder, **changes)
        if sign:
            signed(self.folder)


def signed(folder: Path, key: signature.SecretKey = KEY, sequence: int = SEQUENCE) -> None:
    with OpenBundle.open([folder]) as bundle:
        trust.sign_bundle(bundle, key, sequence=sequence)


@dataclass(frozen=True)
class Row:
    """What happens to the medium, and words of what is said then."""

    spoil: Callable[[Medium], object]
    words: str


# --- media --------------------------------------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def flip_of_file(name: str, words: str = "") -> Row:
    return Row(lambda medium: medium.change(name, lambda data: flipped(data, len(data) // 2)), words or name)


def flip_of_archive(where: Callable[[Manifest], int]) -> Row:
    def spoil(medium: Medium) -> None:
        number, at = divmod(where(medium.manifest), medium.manifest.parts[0].size)
        medium.change(f"images.tar.{number:03d}", lambda data: flipped(data, at))

    return Row(spoil, ": changed, ")


def last(manifest: Manifest) -> int:
    return sum(part.size for part in manifest.parts) - 1


FLIPPED = {
    "bundle.json": flip_of_file(MANIFEST),
    "its signature": flip_of_file(SIGNATURE),
    "SHA256SUMS": flip_of_file(SUMS, "SHA256SUMS: changed"),
    "load.sh": flip_of_file("load.sh", "load.sh: changed"),
    "a document": flip_of_file("docs/airgap.md", "docs/airgap.md: changed"),
    "a file of the stack": flip_of_file(
        "stack/compose.yaml", "stack/compose.yaml: is not what bundle.json says"
    ),
    "a software list": flip_of_file("sbom/api.spdx.json", "sbom/api.spdx.json: changed"),
    "first byte of the archive": flip_of_archive(lambda _: 0),
    "a blob's header": flip_of_archive(lambda manifest: manifest.blobs[1].offset - 512 + 124),
    "a blob's first byte": flip_of_archive(lambda manifest: manifest.blobs[0].offset),
    "a blob's middle": flip_of_archive(
        lambda manifest: manifest.blobs[0].offset + manifest.blobs[0].size // 2
    ),
    "padding behind a blob": flip_of_archive(
        lambda manifest: manifest.blobs[0].offset + manifest.blobs[0].size
    ),
    "a description": flip_of_archive(lambda manifest: last(manifest) - 2000),
    "the archive's end": flip_of_archive(last),
    "first byte of a middle part": flip_of_archive(lambda manifest: manifest.parts[0].size),
    "last byte of a middle part": flip_of_archive(lambda manifest: 2 * manifest.parts[0].size - 1),
}


def cut(name: str, kept: slice, words: str) -> Row:
    """Bytes of a file are lost."""
    return Row(lambda medium: medium.change(name, lambda data: data[kept]), words)


ENDS = {"first": slice(1, None), "last": slice(None, -1)}
SAID_OF_CUT = {
    MANIFEST: MANIFEST,
    SIGNATURE: SIGNATURE,
    SUMS: "SHA256SUMS: changed",
    "load.sh": "load.sh: wrong size",
    "stack/compose.yaml": "stack/compose.yaml: is not what bundle.json says",
    "images.tar.000": "images.tar.000: wrong size",
    "images.tar.001": "images.tar.001: wrong size",
    "images.tar.003": "images.tar.003: wrong size",
}
CUT = {
    **{
        f"{name}, {end} byte": cut(name, kept, words)
        for name, words in SAID_OF_CUT.items()
        for end, kept in ENDS.items()
    },
    "a part, all bytes": cut("images.tar.001", slice(0), "001: wrong size"),
    "bundle.json, all bytes": cut(MANIFEST, slice(0), "is not JSON"),
}


def removed(name: str, words: str = "") -> Row:
    return Row(lambda medium: (medium.folder / name).unlink(), words or f"{name}: missing")


MISSING = {
    "first part": removed("images.tar.000"),
    "middle part": removed("images.tar.001"),
    "last part": removed("images.tar.003"),
    "bundle.json": removed(MANIFEST, "found no bundle.json"),
    "SHA256SUMS": removed(SUMS),
    "a file of the stack": removed("stack/compose.yaml", "found no stack/compose.yaml"),
}


def copied(name: str, to: str, words: str) -> Row:
    return Row(lambda medium: shutil.copy(medium.folder / name, medium.folder / to), words)


DOUBLED = {
    "in another's place": copied("images.tar.000", "images.tar.001", "images.tar.001: swapped"),
    "beside the others": copied("images.tar.000", "images.tar.000 (1)", "images.tar.000 (1): foreign"),
    "under a higher number": copied("images.tar.001", "images.tar.004", "images.tar.004: foreign"),
    "in capital letters": copied("images.tar.001", "IMAGES.TAR.001", "IMAGES.TAR.001: foreign"),
}


def swap(medium: Medium) -> None:
    spare = medium.home / "spare"
    first, second = medium.folder / "images.tar.000", medium.folder / "images.tar.001"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def from_older(name: str, words: str, to: str = "") -> Row:
    return Row(lambda medium: shutil.copy(medium.older / name, medium.folder / (to or name)), words)


OTHERS = {
    "a part": from_older("images.tar.001", "images.tar.001: changed"),
    "bundle.json": from_older(MANIFEST, f"{SIGNATURE}: found the comment"),
    "the signature": from_older(SIGNATURE, f"{SIGNATURE}: found the comment"),
    "two bundles at once": Row(
        lambda medium: medium.given.extend([medium.folder, medium.older]), "belongs to another bundle than"
    ),
}


def overwritten(medium: Medium) -> None:
    """The same folder, first an export of more parts, then this one, of which not everything was copied."""
    shutil.copytree(medium.older, medium.folder, dirs_exist_ok=True)
    for name in (MANIFEST, SIGNATURE, SUMS, "images.tar.000"):
        shutil.copy(medium.good / name, medium.folder / name)


OLDER = {
    "a part of a higher number": from_older("images.tar.005", "images.tar.005: foreign"),
    "an old part in its place": from_older("images.tar.002", "images.tar.002: changed"),
    "half copied over it": Row(overwritten, "images.tar.001: changed"),
    "a file left in the stack": from_older(
        "stack/compose.yaml", "stack/compose.override.yaml: foreign", "stack/compose.override.yaml"
    ),
}

# --- the wrong place ----------------------------------------------------------------------------------------


def beside_another_base(medium: Medium) -> None:
    """A delta, and the bundle that its operator takes for its base."""
    medium.put_another(images={"a:1": bundles.LAYERS[:1]}, on=bundles.LAYERS)
    medium.given.extend([medium.folder, Path("--base"), medium.older])


WRONG_BASE = {
    "not imported here": Row(lambda medium: medium.put_another(on=bundles.LAYERS), BASE),
    "another one is named": Row(beside_another_base, BASE),
}
PLATFORM = {
    "arm64": Row(
        lambda medium: medium.put_another(platform="linux/arm64"),
        "is for linux/arm64, the engine of this host runs linux/amd64",
    ),
    "arm64 in the image only": Row(
        lambda medium: medium.put_another(config=lambda said: said | {"architecture": "arm64"}),
        "its configuration has another platform",
    ),
}

# --- hostile bundles ----------------------------------------------------------------------------------------


def rewritten(change: Callable[[Manifest], Manifest]) -> Row:
    """A manifest that somebody wrote by hand."""

    def spoil(medium: Medium) -> None:
        data = change(medium.manifest).to_bytes()
        (medium.folder / MANIFEST).write_bytes(data)

    return Row(spoil, f"{MANIFEST}: ")


def with_file(path: str) -> Row:
    return rewritten(lambda made: replace(made, files=(replace(made.files[0], path=path), *made.files[1:])))


def with_part(name: str) -> Row:
    return rewritten(lambda made: replace(made, parts=(replace(made.parts[0], name=name), *made.parts[1:])))


def moved_and_linked(name: str) -> Callable[[Medium], None]:
    def spoil(medium: Medium) -> None:
        shutil.move(medium.folder / name, medium.home / "elsewhere")
        (medium.folder / name).symlink_to(medium.home / "elsewhere")

    return spoil


def pipe(medium: Medium) -> None:
    (medium.folder / "images.tar.002").unlink()
    os.mkfifo(medium.folder / "images.tar.002")


NAMES = {
    "a file above the bundle": with_file("../../etc/cron.d/x"),
    "an absolute file": with_file("/etc/cron.d/x"),
    "a stack file that leads out": with_file("stack/../../x"),
    "a part above the bundle": with_part("../images.tar.000"),
    "the manifest as a file": with_file("Bundle.JSON"),
    "a name of an image": rewritten(
        lambda made: replace(made, images=(replace(made.images[0], reference="-v"),))
    ),
    "a name of a stack": rewritten(lambda made: replace(made, stack=replace(CARDS, name="../.."))),
}
LINKS = {
    "a part": Row(moved_and_linked("images.tar.002"), "is a link"),
    "the stack's folder": Row(moved_and_linked("stack"), "is a link"),
    "bundle.json": Row(moved_and_linked(MANIFEST), "is a link"),
    "the signature": Row(moved_and_linked(SIGNATURE), "is a link"),
    "settings beside the stack": Row(
        lambda medium: (medium.folder / "stack/.env").symlink_to("/etc/passwd"), "stack/.env: foreign"
    ),
    "a pipe": Row(pipe, "is not a plain file"),
}


def tampered(tamper: Callable[[bytes], bytes], words: str) -> Row:
    return Row(lambda medium: medium.put_another(tamper=tamper), words)


ARCHIVES = {name: tampered(tamper, words) for name, (tamper, words) in TAMPERED.items()}

ZEROS = bytes(64 << 20)


def bomb(*, raw_size: int) -> Callable[[Medium], None]:
    """64 MB in a few kilobytes, of which the manifest says that they are `raw_size` bytes."""

    def spoil(medium: Medium) -> None:
        images = {"a:1": [ZEROS]}
        made = bundles.write(medium.home / "made", images=images, frame=16 << 20)
        layers = (replace(made.layers[0], raw_size=raw_size),)
        medium.put_another(images=images, frame=16 << 20, layers=layers)

    return spoil


BOMBS = {
    "more than was said": Row(bomb(raw_size=1000), "more than 1000 raw bytes"),
    "less than was said": Row(bomb(raw_size=(64 << 20) + 1), "inconsistent"),
    "as much as was said, on a small disk": Row(bomb(raw_size=1 << 50), "bytes free, expected"),
    "bundle.json": Row(
        lambda medium: os.truncate(medium.folder / MANIFEST, 1 << 40), "more than 16777216 bytes"
    ),
    "the signature": Row(lambda medium: os.truncate(medium.folder / SIGNATURE, 1 << 40), "more than"),
    "deep JSON": Row(lambda medium: medium.change(MANIFEST, lambda _: b"[" * 200_000), "is not JSON"),
}

# --- whom to trust ------------------------------------------------------------------------------------------

UNKNOWN = {
    "a stranger's key": Row(
        lambda medium: signed(medium.folder, STRANGER),
        f"by key {STRANGER.public.id}, expected one by {KEY.public.id}",
    ),
    "a stranger's key under our number": Row(
        lambda medium: signed(medium.folder, replace(STRANGER, number=KEY.number)), "does not hold"
    ),
}
STOLEN = {
    "an older bundle": Row(
        lambda medium: medium.given.append(medium.older),
        f"has sequence {SEQUENCE - 1}, expected at least {SEQUENCE}",
    )
}


def revoked(medium: Medium) -> None:
    (medium.home / "state" / REVOKED).write_bytes(revoked_to_bytes([KEY.public]))


def over(medium: Medium) -> None:
    KeyStore(own=medium.home / "state").pin(KEY.public, until="2026-01-31")


NO_LONGER = {
    "revoked": Row(revoked, f"by key {KEY.public.id}, which was revoked"),
    "past its last date": Row(over, f"by key {KEY.public.id}, which counted until 2026-01-31"),
}


def of_another_stack(medium: Medium) -> None:
    """An older image under a name that the site has, which another stack brings."""
    medium.put_another(images={BEFORE[0].reference: bundles.LAYERS[2:]}, stack=CARDS, files={}, sign=False)
    signed(medium.folder, sequence=SEQUENCE - 1)


OLDER_IMAGE = {
    "of another stack": Row(of_another_stack, f"a newer one for {BEFORE[0].reference} was imported")
}
FUTURE = {
    "of a clock in 2036": Row(
        lambda medium: signed(medium.folder, sequence=2_100_000_000),
        "more than a day ahead of this host's clock",
    )
}
UNSIGNED = {
    "never signed or not copied": removed(SIGNATURE, f"has no signature, expected one by {KEY.public.id}")
}

FAULTS: Mapping[str, Mapping[str, Row]] = {
    "flipped bit": FLIPPED,
    "truncation": CUT,
    "missing part": MISSING,
    "doubled part": DOUBLED,
    "swapped parts": {"two": Row(swap, "images.tar.000: swapped")},
    "of another bundle": OTHERS,
    "older export in the folder": OLDER,
    "wrong base": WRONG_BASE,
    "another platform": PLATFORM,
    "hostile names": NAMES,
    "links": LINKS,
    "hostile archive": ARCHIVES,
    "decompression bomb": BOMBS,
    "unknown key": UNKNOWN,
    "key revoked or over": NO_LONGER,
    "stolen older bundle": STOLEN,
    "name moved to an older image": OLDER_IMAGE,
    "clock far in the future": FUTURE,
    "no signature": UNSIGNED,
}


# --- the test -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two signed bundles, to be copied: `good`, and `older`, of other images and more parts."""
    folder = tmp_path_factory.mktemp("workshop")
    assert len(bundles.write(folder / "good", files=FILES).parts) == 4
    raws = [bundles.layer_tar({f"opt/{seed}": noise(90_000, seed)}) for seed in (7, 8, 9)]
    bundles.write(folder / "older", images={"paddock/cpu-api:0.0.9": raws}, files=bundles.FILES)
    signed(folder / "good")
    signed(folder / "older", sequence=SEQUENCE - 1)
    return folder


@pytest.fixture(scope="module")
def engine(site: SiteEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker.DockerClient]:
    """An engine that has images already, one of them with a name that the bundle would take."""
    client = docker.DockerClient(base_url=site.address)
    client.images.load(archive(BEFORE))
    yield client
    client.close()
    Site(engine=site, state=tmp_path_factory.mktemp("state")).clear()


def holdings(engine: docker.DockerClient) -> object:
    """Everything that an import could leave in an engine."""
    containers = [container.id for container in engine.containers.list(all=True)]
    return image_store.images(engine), containers, engine.volumes.list()


def stored(engine: docker.DockerClient) -> set[str]:
    """The names of what lies on its disk. An engine may take something away at any time."""
    store = image_store.read(engine)
    return {path.name for path in (store.content() or store.root / "image").rglob("*")}


# These depend on what the store holds, or on its disk; every other row is refused before the store is asked.
ASKS_THE_STORE = {"wrong base", "another platform", "decompression bomb"}


def rows_of(*, store_asked: bool) -> pytest.MarkDecorator:
    """The rows of the tables, as parameters."""
    return pytest.mark.parametrize(
        "row",
        [
            pytest.param(row, id=f"{fault}: {name}", marks=pytest.mark.fault(fault))
            for fault, rows in FAULTS.items()
            for name, row in rows.items()
            if (fault in ASKS_THE_STORE) == store_asked
        ],
    )


@pytest.fixture
def refuse(
    site: SiteEngine,
    engine: docker.DockerClient,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[Row], None]:
    """Import what a row makes of a good bundle: it must be refused, and the engine is as it was."""

    def refuse(row: Row) -> None:
        state = tmp_path / "state"
        monkeypatch.setenv("DOCKER_HOST", site.address)
        monkeypatch.setenv("PADDOCK_STATE", str(state))
        KeyStore(own=state).pin(KEY.public)
        medium = Medium(home=tmp_path, good=workshop / "good", older=workshop / "older")
        shutil.copytree(medium.good, medium.folder)
        with OpenBundle.open([medium.folder]) as bundle:  # the site had a bundle of these images before
            had = trust.Signed(key_id=KEY.public.id, sequence=SEQUENCE, checked=True)
            sequences.record(bundle.manifest, had, state)
        row.spoil(medium)
        before, stored_before = holdings(engine), stored(engine)
        status = run(["import", *map(str, medium.given or [medium.folder])])
        said = capsys.readouterr().err
        assert status == 7, said
        assert row.words in said, said
        assert "\nhint: " in said, said
        assert holdings(engine) == before
        assert stored(engine) <= stored_before
        assert not (state / "stacks").exists()

    return refuse


@rows_of(store_asked=True)
def test_it_never_reaches_the_engine(row: Row, refuse: Callable[[Row], None]) -> None:
    refuse(row)


@pytest.mark.parametrize("site", ["containerd"], indirect=True)
@rows_of(store_asked=False)
def test_it_is_refused_before_the_store_is_asked(row: Row, refuse: Callable[[Row], None]) -> None:
    refuse(row)


def test_what_was_not_spoilt_comes_in(
    site: SiteEngine,
    engine: docker.DockerClient,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the tables would show nothing."""
    monkeypatch.setenv("DOCKER_HOST", site.address)
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path / "state"))
    KeyStore(own=tmp_path / "state").pin(KEY.public)
    assert run(["import", str(workshop / "good")]) == 0
    names = {name for image in image_store.images(engine) for name in image.references}
    before = {image.reference for image in BEFORE}
    assert names == {*bundles.IMAGES, *before, "paddock/cpu-api:0.1.0-previous"}
