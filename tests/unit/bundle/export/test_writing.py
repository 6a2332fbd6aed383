"""A full bundle: its bytes, that they are the same each time, that a stopped export goes on, and refusals."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundle_folders import contents_of
from layer_files import FileLayer, LayerFiles, noise, text
from paddock.bundle.export.contents import CarriedFile, Contents, SourceImage
from paddock.bundle.export.journal import NAME as JOURNAL
from paddock.bundle.export.writing import write_bundle
from paddock.bundle.format.libzstd import zstd
from paddock.bundle.format.manifest import MANIFEST, Manifest, parse
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.layers.carried import BundleLayers
from paddock.errors import BundleError, Interrupted
from recording import Recorder
from small_images import digest, tar

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
    return write_bundle(contents, folder, source, report=Recorder(), part_size=part_size)


def blob_path(name: str) -> str:
    return f"blobs/sha256/{name.removeprefix('sha256:')}"


def content_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def archive(folder: Path, manifest: Manifest) -> bytes:
    return b"".join((folder / part.name).read_bytes() for part in manifest.parts)


def test_what_is_on_the_disk_is_what_the_manifest_says(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    manifest = written(contents, folder, source)
    assert parse((folder / MANIFEST).read_bytes()) == manifest
    assert len(manifest.parts) > 5
    assert {part.size for part in manifest.parts[:-1]} == {PART}
    names = {
        "bundle.json",
        "SHA256SUMS",
        *(part.name for part in manifest.parts),
        *(file.path for file in manifest.files),
    }
    assert set(contents_of(folder)) == names
    for part in manifest.parts:
        assert hashlib.sha256((folder / part.name).read_bytes()).hexdigest() == part.sha256
    for file in manifest.files:
        assert hashlib.sha256((folder / file.path).read_bytes()).hexdigest() == file.sha256
        assert bool((folder / file.path).stat().st_mode & 0o100) == file.executable
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
        assert digest(data[blob.offset : blob.offset + blob.size]) == blob.digest
    assert [layer.diff_id for layer in manifest.layers] == list(contents.layers)
    for layer in manifest.layers:
        of_layer = manifest.blob(layer.digest)
        assert of_layer is not None
        raw = zstd.decompress(data[of_layer.offset : of_layer.offset + of_layer.size])
        assert raw == source.path(layer.diff_id).read_bytes()
        assert layer.raw_size == len(raw)


def test_the_parts_are_one_oci_layout_and_one_docker_archive(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    manifest = written(contents, tmp_path / "bundle", source)
    with tarfile.open(fileobj=io.BytesIO(archive(tmp_path / "bundle", manifest))) as tar_file:
        files = {member.name: content_of(tar_file, member) for member in tar_file}
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in index] == [
        "docker.io/paddock/one:1",
        "docker.io/library/two:2",
    ]
    loaded = json.loads(files["manifest.json"])
    for described, listed, image in zip(index, loaded, contents.images, strict=True):
        image_manifest = json.loads(files[blob_path(described["digest"])])
        assert files[blob_path(image_manifest["config"]["digest"])] == image.config
        layers = [blob_path(layer["digest"]) for layer in image_manifest["layers"]]
        assert listed == {"Config": listed["Config"], "RepoTags": [image.reference], "Layers": layers}
        assert [len(files[path]) for path in layers] == [layer["size"] for layer in image_manifest["layers"]]
        assert tuple(digest(zstd.decompress(files[path])) for path in layers) == image.layers
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
    assert contents_of(tmp_path / "a") == contents_of(tmp_path / "b")


def test_software_of_both_images(contents: Contents, source: LayerFiles, tmp_path: Path) -> None:
    written(contents, tmp_path / "bundle", source)
    one = json.loads((tmp_path / "bundle/sbom/paddock-one-1.spdx.json").read_text("utf-8"))
    two = json.loads((tmp_path / "bundle/sbom/two-2.spdx.json").read_text("utf-8"))
    assert one["creationInfo"]["created"] == "2026-11-21T05:03:37Z"
    addresses = [package["externalRefs"][0]["referenceLocator"] for package in one["packages"][1:]]
    assert addresses == ["pkg:deb/debian/libc6@2.36-9?arch=amd64", "pkg:pypi/some-package@1.2"]
    assert one["packages"][2]["licenseDeclared"] == "MIT"
    names = [package["name"] for package in two["packages"]]
    assert names == ["two:2", "libc6"]  # the upper layer removed the other one
    kinds = {relationship["relationshipType"] for relationship in one["relationships"]}
    assert kinds == {"DESCRIBES", "CONTAINS"}
    assert "MIT!" in (tmp_path / "bundle/licences/paddock-one-1.txt").read_text("utf-8")
    assert "MIT!" not in (tmp_path / "bundle/licences/two-2.txt").read_text("utf-8")


# --- stopped, and gone on -----------------------------------------------------------------------------------


class Stopping(LayerFiles):
    """Stops in the middle of one layer, as a pulled plug would."""

    def __init__(self, folder: Path, at: str, how: BaseException) -> None:
        super().__init__(folder)
        self._at, self._how = at, how

    @contextmanager
    def open(self, name: str) -> Iterator[FileLayer]:
        with super().open(name) as layer:
            if name == self._at:
                yield StoppingLayer(diff_id=layer.diff_id, path=layer.path, how=self._how)
            else:
                yield layer


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingLayer(FileLayer):
    """Ends with an exception after half of its bytes."""

    how: BaseException

    def stream(self) -> Iterator[bytes]:
        yield next(FileLayer.stream(self))[: self.size // 2]
        raise self.how


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_stopped_export_goes_on_and_gives_the_same_bytes(
    contents: Contents, source: LayerFiles, tmp_path: Path, at: int
) -> None:
    written(contents, tmp_path / "whole", source)
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="not finished"):
        written(contents, folder, Stopping(tmp_path / "layers", contents.layers[at], KeyboardInterrupt()))
    assert not (folder / MANIFEST).exists()
    assert all(name.endswith(".partial") or name == JOURNAL for name in contents_of(folder))
    for done in contents.layers[:at]:
        source.path(done).rename(source.path(done).with_suffix(".away"))  # these are not read again
    assert written(contents, folder, source).id
    assert contents_of(folder) == contents_of(tmp_path / "whole")


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
    assert contents_of(folder) == contents_of(tmp_path / "whole")


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
    assert contents_of(folder) == contents_of(tmp_path / "whole")


# --- refusals -----------------------------------------------------------------------------------------------


def test_a_directory_of_another_export_is_left_alone(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    with pytest.raises(Interrupted):
        written(contents, folder, Stopping(tmp_path / "layers", contents.layers[1], KeyboardInterrupt()))
    before = contents_of(folder)
    with pytest.raises(BundleError, match="unfinished export of other images"):
        written(replace(contents, images=contents.images[:1]), folder, source)
    with pytest.raises(BundleError, match="unfinished export"):
        written(contents, folder, source, part_size=PART * 2)
    assert contents_of(folder) == before


def test_a_finished_bundle_or_any_file_is_left_alone(
    contents: Contents, source: LayerFiles, tmp_path: Path
) -> None:
    written(contents, tmp_path / "bundle", source)
    before = contents_of(tmp_path / "bundle")
    with pytest.raises(BundleError, match="expected an empty directory"):
        written(contents, tmp_path / "bundle", source)
    assert contents_of(tmp_path / "bundle") == before


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
