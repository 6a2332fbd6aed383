"""What an engine says of its store and its images, and what containerd's content store says of a layer."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.store import EngineImage, EngineStore, Store, stored_blobs
from paddock.errors import EngineError
from small_images import INDEX, MANIFEST, SmallImage, as_json, described, digest, gzipped, plain, tar

IMAGE = SmallImage(reference="paddock/one:1", layers=(plain(tar({"a": b"1"})), gzipped(tar({"b": b"2"}))))
DIFF_IDS = tuple(layer.diff_id for layer in IMAGE.layers)
CONTENT = "containerd/daemon/io.containerd.content.v1.content/blobs/sha256"


def engine(status: list[list[str]]) -> Any:
    info = {
        "DriverStatus": status,
        "Driver": "overlay2",
        "DockerRootDir": "/var/lib/docker",
        "ServerVersion": "29.0.0",
    }
    return SimpleNamespace(info=lambda: info, version=lambda: {"Os": "linux", "Arch": "arm64"})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ([["driver-type", "io.containerd.snapshotter.v1"]], Store.CONTAINERD),
        ([["Backing Filesystem", "extfs"], ["Supports d_type", "true"]], Store.CLASSIC),
        ([], Store.CLASSIC),
    ],
)
def test_the_kind_of_store(status: list[list[str]], kind: Store) -> None:
    store = image_store.read(engine(status))
    assert (store.kind, store.version, store.platform) == (kind, "29.0.0", "linux/arm64")


def test_an_engine_that_refuses_is_an_engine_error() -> None:
    def refusing() -> None:
        raise OSError("broken pipe")

    with pytest.raises(EngineError, match="refused a request: broken pipe"):
        image_store.read(SimpleNamespace(info=refusing))  # type: ignore[arg-type]


def classic(root: Path) -> EngineStore:
    return EngineStore(kind=Store.CLASSIC, driver="overlay2", root=root, version="29", platform="linux/amd64")


def test_folders_are_used_where_they_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: True)
    store = classic(tmp_path)
    assert (store.layer_records(), store.content(), store.disk()) == (None, None, tmp_path)
    records = tmp_path / "image/overlay2/layerdb/sha256"
    records.mkdir(parents=True)
    (tmp_path / "overlay2").mkdir()
    assert store.layer_records() == records
    assert store.layer_folder("7") == tmp_path / "overlay2/7/diff"
    assert store.configuration_file("sha256:9") == tmp_path / "image/overlay2/imagedb/content/sha256/9"
    assert store.free() == pytest.approx(
        os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.1
    )
    monkeypatch.setattr("paddock.engine.is_local", lambda: False)
    assert (store.layer_records(), store.disk(), store.free()) == (None, None, None)


def test_containerds_content_is_found_below_the_engines_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: True)
    (tmp_path / CONTENT).mkdir(parents=True)
    store = EngineStore(
        kind=Store.CONTAINERD, driver="overlayfs", root=tmp_path, version="29", platform="linux/amd64"
    )
    assert store.content() == store.disk() == tmp_path / CONTENT
    assert store.layer_records() is None


def test_every_chain_of_the_images_is_held() -> None:
    image = EngineImage(id="sha256:1", references=(), platform="linux/amd64", layers=DIFF_IDS)
    assert image_store.chains_held([image]) == set(chain_ids(DIFF_IDS))


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A content store with the image, and with an index of it and of another platform's image."""
    other = SmallImage(reference=IMAGE.reference, layers=IMAGE.layers[:1], platform="linux/arm64")
    index = as_json(
        {
            "mediaType": INDEX,
            "manifests": [described(image.manifest, MANIFEST) for image in (other, IMAGE)],
        }
    )
    for name, data in {**IMAGE.blobs(), **other.blobs(), digest(index): index}.items():
        image_store.blob_file(tmp_path, name).write_bytes(data)
    (tmp_path / "index").write_text(digest(index))
    return tmp_path


def test_the_blobs_of_an_image_are_found_by_manifest_or_index(content: Path) -> None:
    for identity in (digest(IMAGE.manifest), (content / "index").read_text()):
        stored = stored_blobs(content, identity, DIFF_IDS)
        assert stored is not None
        assert (stored.manifest, stored.config) == (digest(IMAGE.manifest), digest(IMAGE.config))
        assert stored.blobs == tuple(digest(layer.blob) for layer in IMAGE.layers)
        assert stored.sizes == tuple(len(layer.blob) for layer in IMAGE.layers)
        assert stored.media_types[1].endswith("+gzip")


def test_an_image_that_is_not_described(content: Path) -> None:
    assert stored_blobs(content, digest(IMAGE.manifest), DIFF_IDS[::-1]) is None
    assert stored_blobs(content, "sha256:" + "0" * 64, DIFF_IDS) is None
    image_store.blob_file(content, digest(IMAGE.config)).write_bytes(b"{")
    assert stored_blobs(content, digest(IMAGE.manifest), DIFF_IDS) is None
