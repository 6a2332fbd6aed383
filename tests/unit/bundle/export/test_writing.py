"""A full bundle: its bytes, that they are the same each time, that a stopped export goes on, and every
refusal.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from layer_files import LayerFiles, noise, text
from paddock.bundle.export.contents import CarriedFile, Contents, SourceImage
from paddock.bundle.export.journal import NAME as JOURNAL
from paddock.bundle.export.writing import write_bundle
from paddock.bundle.format.archive import full_name
from paddock.bundle.format.libzstd import zstd
from paddock.bundle.format.manifest import MANIFEST, Manifest, parse
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.layers.carried import BundleLayers
from paddock.errors import BundleError, Interrupted
from small_images import tar

PART = 1 << 20
METADATA = b"Metadata-Version: 2.4\nName: Some_Package\nVersion: 1.2\nLicense-Expression: MIT\n\nwords\n"
STATUS = b"""Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9

Package: gone
Status: deinstall ok config-files
Version: 1
"""


class Silent:
    """A reporter that keeps what was said; the real one needs a terminal."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str, /) -> None:
        self.said.append(message)

    warn = say

    def progress(self, label, *, total, unit, done=0):
        return _Progress()


class _Progress:
    def __enter__(self):
        return lambda _amount: None

    def __exit__(self, *_):
        return None


def image(reference: str, layers: tuple[str, ...]) -> SourceImage:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-11-21T05:03:37.123456789Z",
        "config": {"Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": layers},
    }
    return SourceImage(
        reference=reference, platform="linux/amd64", config=json.dumps(config).encode(), layers=layers
    )


@pytest.fixture
def source(tmp_path: Path) -> LayerFiles:
    return LayerFiles(tmp_path / "layers")


@pytest.fixture
def contents(source: LayerFiles) -> Contents:
    base = source.add(tar({"bin/sh": text(200_000), "var/lib/dpkg/status": STATUS, "big": noise(5 << 20)}))
    lower = source.add(
        tar(
            {
                "opt/some_package-1.2.dist-info/METADATA": METADATA,
                "opt/some_package-1.2.dist-info/LICENSE": b"MIT!",
            }
        )
    )
    upper = source.add(tar({"opt/.wh.some_package-1.2.dist-info": b"", "srv/" + "x" * 150: text(3 << 20, 5)}))
    return Contents(
        platform="linux/amd64",
        stack=None,
        images=(image("paddock/one:1", (base, lower)), image("two:2", (base, lower, upper))),
        files=(CarriedFile(path="load.sh", data=b"#!/bin/sh\n", executable=True),),
    )


def written(contents: Contents, folder: Path, source: LayerFiles, part_size: int = PART) -> Manifest:
    return write_bundle(contents, folder, source, report=Silent(), part_size=part_size)


def everything(folder: Path) -> dict[str, bytes]:
    return {
        each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()
    }


def archive(folder: Path, manifest: Manifest) -> bytes:
    return b"".join((folder / each.name).read_bytes() for each in manifest.parts)


def test_what_is_on_the_disk_is_what_the_manifest_says(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    manifest = written(contents, folder, source)
    assert parse((folder / MANIFEST).read_bytes()) == manifest
    assert len(manifest.parts) > 5
    assert {each.size for each in manifest.parts[:-1]} == {PART}
    names = {
        "bundle.json",
        "SHA256SUMS",
        *(each.name for each in manifest.parts),
        *(f.path for f in manifest.files),
    }
    assert set(everything(folder)) == names
    for each in manifest.parts:
        assert hashlib.sha256((folder / each.name).read_bytes()).hexdigest() == each.sha256
    for each in manifest.files:
        assert hashlib.sha256((folder / each.path).read_bytes()).hexdigest() == each.sha256
        assert bool((folder / each.path).stat().st_mode & 0o100) == each.executable
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_blob_is_where_the_manifest_says_and_gives_the_layer(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    manifest = written(contents, tmp_path / "bundle", source)
    data = archive(tmp_path / "bundle", manifest)
    for blob in manifest.blobs:
        assert (
            f"sha256:{hashlib.sha256(data[blob.offset : blob.offset + blob.size]).hexdigest()}" == blob.digest
        )
    assert [each.diff_id for each in manifest.layers] == list(contents.layers)
    for layer in manifest.layers:
        blob = manifest.blob(layer.digest)
        assert blob is not None
        raw = zstd.decompress(data[blob.offset : blob.offset + blob.size])
        assert raw == source.path(layer.diff_id).read_bytes()
        assert layer.raw_size == len(raw)


def test_the_parts_are_one_oci_layout_and_one_docker_archive(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    manifest = written(contents, tmp_path / "bundle", source)
    with tarfile.open(fileobj=io.BytesIO(archive(tmp_path / "bundle", manifest))) as tar_file:
        files = {each.name: tar_file.extractfile(each).read() for each in tar_file}  # type: ignore[union-attr]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])["manifests"]
    assert [each["annotations"]["io.containerd.image.name"] for each in index] == [
        "docker.io/paddock/one:1",
        "docker.io/library/two:2",
    ]
    loaded = json.loads(files["manifest.json"])
    for described, listed, wanted in zip(index, loaded, contents.images, strict=True):
        found = json.loads(files["blobs/sha256/" + described["digest"].removeprefix("sha256:")])
        assert files["blobs/sha256/" + found["config"]["digest"].removeprefix("sha256:")] == wanted.config
        layers = ["blobs/sha256/" + each["digest"].removeprefix("sha256:") for each in found["layers"]]
        assert listed == {"Config": listed["Config"], "RepoTags": [wanted.reference], "Layers": layers}
        assert [len(files[each]) for each in layers] == [each["size"] for each in found["layers"]]
        raw = [f"sha256:{hashlib.sha256(zstd.decompress(files[each])).hexdigest()}" for each in layers]
        assert tuple(raw) == wanted.layers
    assert len([name for name in files if name.startswith("blobs/")]) == 3 + 2 + 2  # each layer once


def test_the_reader_of_bundles_finds_the_layers(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    manifest = written(contents, tmp_path / "bundle", source)
    with OpenBundle.open([tmp_path / "bundle"]) as bundle:
        held = BundleLayers(bundle)
        for layer in manifest.layers:
            with held.open(layer.diff_id) as opened:
                assert b"".join(opened.stream()) == source.path(layer.diff_id).read_bytes()
                assert opened.read_at(300, 200) == source.path(layer.diff_id).read_bytes()[300:500]


def test_the_same_images_give_the_same_bytes(contents: Contents, source: LayerFiles, tmp_path: Path) -> None:
    written(contents, tmp_path / "a", source)
    written(contents, tmp_path / "b", LayerFiles(tmp_path / "layers", piece=77_777))
    assert everything(tmp_path / "a") == everything(tmp_path / "b")


def test_software_of_both_images(contents: Contents, source: LayerFiles, tmp_path: Path) -> None:
    written(contents, tmp_path / "bundle", source)
    one = json.loads((tmp_path / "bundle/sbom/paddock-one-1.spdx.json").read_text("utf-8"))
    two = json.loads((tmp_path / "bundle/sbom/two-2.spdx.json").read_text("utf-8"))
    assert one["creationInfo"]["created"] == "2026-11-21T05:03:37Z"
    addresses = [each["externalRefs"][0]["referenceLocator"] for each in one["packages"][1:]]
    assert addresses == ["pkg:deb/debian/libc6@2.36-9?arch=amd64", "pkg:pypi/some-package@1.2"]
    assert one["packages"][2]["licenseDeclared"] == "MIT"
    assert [each["name"] for each in two["packages"]] == [
        "two:2",
        "libc6",
    ]  # the upper layer removed the other one
    assert {each["relationshipType"] for each in one["relationships"]} == {"DESCRIBES", "CONTAINS"}
    assert "MIT!" in (tmp_path / "bundle/licences/paddock-one-1.txt").read_text("utf-8")
    assert "MIT!" not in (tmp_path / "bundle/licences/two-2.txt").read_text("utf-8")


# --- stopped, and gone on -----------------------------------------------------------------------------------


class Stopping(LayerFiles):
    """Stops in the middle of one layer, as a pulled plug would."""

    def __init__(self, folder: Path, at: str, how: BaseException) -> None:
        super().__init__(folder)
        self._at, self._how = at, how

    def open(self, name: str):
        opened = super().open(name)
        return self._stopping(opened) if name == self._at else opened

    def _stopping(self, opened):
        layer = opened.__enter__()
        how = self._how

        class Cut:
            diff_id, size = layer.diff_id, layer.size

            def stream(self):
                yield next(layer.stream())[: layer.size // 2]
                raise how

        class Opened:
            def __enter__(self):
                return Cut()

            def __exit__(self, *_):
                return None

        return Opened()


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_stopped_export_goes_on_and_gives_the_same_bytes(
    contents: Contents, source: LayerFiles, tmp_path: Path, at: int
) -> None:
    written(contents, tmp_path / "whole", source)
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="not finished"):
        written(contents, folder, Stopping(tmp_path / "layers", contents.layers[at], KeyboardInterrupt()))
    assert not (folder / MANIFEST).exists()
    assert all(each.endswith(".partial") or each == JOURNAL for each in everything(folder))
    for done in contents.layers[:at]:
        source.path(done).rename(source.path(done).with_suffix(".away"))  # these are not read again
    assert written(contents, folder, source).id
    assert everything(folder) == everything(tmp_path / "whole")


def test_a_layer_that_was_damaged_meanwhile_is_written_again(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    written(contents, tmp_path / "whole", source)
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        written(contents, folder, Stopping(tmp_path / "layers", contents.layers[2], KeyboardInterrupt()))
    part = folder / "images.tar.001.partial"
    part.write_bytes(bytes([part.read_bytes()[0] ^ 1]) + part.read_bytes()[1:])
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(b'{"layer": {"cut')  # and the last line is half there
    written(contents, folder, source)
    assert everything(folder) == everything(tmp_path / "whole")


def test_stopped_between_the_last_rename_and_the_end(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    written(contents, tmp_path / "whole", source)
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        written(contents, folder, Stopping(tmp_path / "layers", contents.layers[2], KeyboardInterrupt()))
    kept = (folder / JOURNAL).read_bytes()
    written(contents, folder, source)
    (folder / JOURNAL).write_bytes(kept)  # as if it had not been removed; the parts have their names
    written(contents, folder, source)
    assert everything(folder) == everything(tmp_path / "whole")


# --- refusals -----------------------------------------------------------------------------------------------


def test_a_directory_of_another_export_is_left_alone(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    with pytest.raises(Interrupted):
        written(contents, folder, Stopping(tmp_path / "layers", contents.layers[1], KeyboardInterrupt()))
    before = everything(folder)
    with pytest.raises(BundleError, match="unfinished export of other images"):
        written(replace(contents, images=contents.images[:1]), folder, source)
    with pytest.raises(BundleError, match="unfinished export"):
        written(contents, folder, source, part_size=PART * 2)
    assert everything(folder) == before


def test_a_finished_bundle_or_any_file_is_left_alone(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    written(contents, tmp_path / "bundle", source)
    before = everything(tmp_path / "bundle")
    with pytest.raises(BundleError, match="expected an empty directory"):
        written(contents, tmp_path / "bundle", source)
    assert everything(tmp_path / "bundle") == before


def test_bytes_that_are_not_the_layer_are_refused(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    damaged = source.path(contents.layers[1])
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    with pytest.raises(BundleError, match="the engine gave other bytes: found sha256:"):
        written(contents, tmp_path / "bundle", source)
    assert not (tmp_path / "bundle" / MANIFEST).exists()


def test_a_directory_that_cannot_be_written_is_named(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="file/bundle: cannot be written to"):
        written(contents, tmp_path / "file/bundle", source)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("debian:12", "docker.io/library/debian:12"),
        ("paddock/tool:1", "docker.io/paddock/tool:1"),
        ("harbor.example/ocr/api:1", "harbor.example/ocr/api:1"),
        ("localhost/api:1", "localhost/api:1"),
        ("registry:5000/api:1", "registry:5000/api:1"),
    ],
)
def test_full_names(short: str, full: str) -> None:
    assert full_name(short) == full
