"""An open bundle: bytes from several folders, and nothing but the bundle's own plain files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.bundle.format.manifest import Manifest
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError
from samples import bundles
from small_images import digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    return bundles.write(folder)


@pytest.fixture
def archive(folder: Path, manifest: Manifest) -> bytes:
    assert len(manifest.parts) > 3
    return b"".join((folder / part.name).read_bytes() for part in manifest.parts)


def test_any_range_of_the_parts_laid_end_to_end(folder: Path, archive: bytes) -> None:
    with OpenBundle.open([folder]) as bundle:
        assert bundle.size == len(archive)
        for start, end in [
            (0, 0),
            (0, 1),
            (49_999, 50_001),
            (10, 160_000),
            (0, len(archive)),
            (len(archive) - 1,) * 2,
        ]:
            assert bundle.read_at(start, end - start) == archive[start:end]
        for start, length in [(-1, 2), (0, len(archive) + 1), (3, -1)]:
            with pytest.raises(BundleError, match="has no bytes"):
                bundle.read_at(start, length)


def test_every_blob_is_what_its_digest_says(folder: Path, manifest: Manifest) -> None:
    with OpenBundle.open([folder]) as bundle:
        for blob in manifest.blobs:
            data = b"".join(bundle.open_blob(blob.digest).stream())
            assert digest(data) == blob.digest
            assert bundle.open_blob(blob.digest).read_at(1, 3) == data[1:4]
        with pytest.raises(BundleError, match="does not carry the blob"):
            bundle.open_blob("sha256:" + "0" * 64)


def test_parts_come_from_several_media_in_any_order(tmp_path: Path, folder: Path, archive: bytes) -> None:
    other = tmp_path / "second stick"
    (other / "stack").mkdir(parents=True)
    for name in ("images.tar.000", "images.tar.002", "stack/compose.yaml"):
        shutil.move(folder / name, other / name)
    with OpenBundle.open([other, folder]) as bundle:
        assert bundle.read_at(0, bundle.size) == archive
        assert bundle.path("stack/compose.yaml") == other / "stack/compose.yaml"


def test_another_copy_is_read_where_the_first_is_bad(tmp_path: Path, folder: Path, archive: bytes) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "images.tar.001").write_bytes(b"bad")
    with OpenBundle.open([other, folder]) as bundle:
        assert bundle.copies("images.tar.001") == (other / "images.tar.001", folder / "images.tar.001")
        with pytest.raises(BundleError, match=r"images.tar.001: found its end at byte"):
            bundle.read_at(0, bundle.size)
        bundle.use("images.tar.001", folder / "images.tar.001")
        assert bundle.read_at(0, bundle.size) == archive


def test_a_medium_may_fold_the_case_of_names(folder: Path, archive: bytes) -> None:
    (folder / "stack").rename(folder / "STACK")
    (folder / "STACK/compose.yaml").rename(folder / "STACK/Compose.YAML")
    (folder / "bundle.json").rename(folder / "BUNDLE.JSON")
    for path in folder.glob("images.tar.*"):
        path.rename(folder / path.name.upper())
    with OpenBundle.open([folder]) as bundle:
        assert bundle.read_at(0, bundle.size) == archive
        assert bundle.path("stack/compose.yaml") == folder / "STACK/Compose.YAML"


def test_a_missing_part_is_named(folder: Path, archive: bytes) -> None:
    (folder / "images.tar.002").unlink()
    with OpenBundle.open([folder]) as bundle:
        assert bundle.read_at(0, 100_000) == archive[:100_000]
        with pytest.raises(BundleError, match=r"found no images.tar.002, a file of bundle"):
            bundle.read_at(0, 100_001)


def test_a_blob_that_changed_after_the_check_is_noticed(folder: Path, manifest: Manifest) -> None:
    blob = max(manifest.blobs, key=lambda blob: blob.size)
    path = folder / manifest.parts[(blob.offset + 5) // 50_000].name
    data = bytearray(path.read_bytes())
    data[(blob.offset + 5) % 50_000] ^= 1
    path.write_bytes(data)
    with OpenBundle.open([folder]) as bundle, pytest.raises(BundleError, match="found sha256:"):
        list(bundle.open_blob(blob.digest).stream())


def test_more_parts_than_are_kept_open(folder: Path, tmp_path: Path) -> None:
    bundles.write(tmp_path / "many", part_size=5000)
    with OpenBundle.open([tmp_path / "many"]) as bundle:
        before = len(list(Path("/proc/self/fd").iterdir()))
        data = bundle.read_at(0, bundle.size)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 8
        assert bundle.read_at(7, 3) == data[7:10]


# --- refusals -----------------------------------------------------------------------------------------------


def test_no_bundle_here(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"found no bundle.json") as caught:
        OpenBundle.open([tmp_path, tmp_path / "missing"])
    assert "export was not finished" in caught.value.hint


def test_two_bundles_are_not_mixed(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    bundles.write(tmp_path / "other", files={})
    with pytest.raises(BundleError, match="belongs to another bundle than"):
        OpenBundle.open([folder, tmp_path / "other"])


def linked_part(folder: Path) -> None:
    (folder / "images.tar.000").rename(folder.parent / "elsewhere")
    (folder / "images.tar.000").symlink_to(folder.parent / "elsewhere")


def pipe_for_part(folder: Path) -> None:
    (folder / "images.tar.000").unlink()
    os.mkfifo(folder / "images.tar.000")


def folder_for_part(folder: Path) -> None:
    (folder / "images.tar.000").unlink()
    (folder / "images.tar.000").mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [(linked_part, "is a link"), (pipe_for_part, "not a plain file"), (folder_for_part, "not a plain file")],
)
def test_only_plain_files_are_opened(
    folder: Path, manifest: Manifest, damage: Callable[[Path], None], words: str
) -> None:
    damage(folder)
    with OpenBundle.open([folder]) as bundle, pytest.raises(BundleError, match=words):
        bundle.read_at(0, 1)


def test_no_link_is_followed_below_the_bundle(folder: Path, manifest: Manifest) -> None:
    (folder / "stack").rename(folder.parent / "outside")
    (folder / "stack").symlink_to(folder.parent / "outside")
    with OpenBundle.open([folder]) as bundle, pytest.raises(BundleError, match="stack: is a link"):
        bundle.path("stack/compose.yaml")


def test_a_huge_manifest_is_not_read_whole(folder: Path, manifest: Manifest) -> None:
    os.truncate(folder / "bundle.json", 1 << 40)
    with pytest.raises(BundleError, match="more than 16777216 bytes"):
        OpenBundle.open([folder])
