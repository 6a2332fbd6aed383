"""The receipt of a site: what it says of an engine and of earlier imports."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.manifest import Manifest
from paddock.bundle.format.receipt import HeldBundle, HeldImage, HeldLayer, parse_receipt
from paddock.bundle.imagestore.store import EngineStore, Store
from paddock.bundle.site.receipt import of_site
from paddock.bundle.site.state import Installed
from samples import bundles

CONTENT = "containerd/daemon/io.containerd.content.v1.content/blobs/sha256"
INSTALLED = Installed(
    bundle="0" * 16, sequence=3, tool="0.1.0", time="now", stack="cpu", folder="/x", switches=()
)


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: True)
    monkeypatch.setattr("paddock.stack.hostcards.driver", lambda: "580.1")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return bundles.write(tmp_path / "bundle")


def engine_with(manifest: Manifest, *, classic: bool) -> Any:
    """An engine that has the images of a bundle."""
    attributes = {
        image.config if classic else image.manifest: {
            "Id": image.config if classic else image.manifest,
            "RepoTags": [image.reference],
            "Os": "linux",
            "Architecture": "amd64",
            "RootFS": {"Layers": list(image.layers)},
        }
        for image in manifest.images
    }
    return SimpleNamespace(
        api=SimpleNamespace(images=lambda **_: [{"Id": identity} for identity in attributes]),
        images=SimpleNamespace(get=lambda identity: SimpleNamespace(attrs=attributes[identity])),
    )


def store(kind: Store, root: Path) -> EngineStore:
    return EngineStore(kind=kind, driver="overlay2", root=root, version="28.5.2", platform="linux/amd64")


def test_a_classic_store_has_layers_without_blobs(manifest: Manifest, tmp_path: Path) -> None:
    receipt = of_site(engine_with(manifest, classic=True), store(Store.CLASSIC, tmp_path), [INSTALLED])
    assert (receipt.store, receipt.engine, receipt.driver) == ("classic", "28.5.2", "580.1")
    assert receipt.free > 0
    assert receipt.bundles == (HeldBundle(id="0" * 16, sequence=3, time="now", stack="cpu"),)
    expected = {
        HeldImage(
            id=image.config,
            references=(image.reference,),
            layers=image.layers,
            chains=chain_ids(image.layers),
        )
        for image in manifest.images
    }
    assert set(receipt.images) == expected
    diff_ids = sorted(layer.diff_id for layer in manifest.layers)
    assert receipt.layers == tuple(HeldLayer(diff_id=diff_id, blob=None) for diff_id in diff_ids)
    assert parse_receipt(receipt.to_bytes(), where="receipt") == receipt


def test_a_blob_is_named_only_where_the_store_has_all_of_it(manifest: Manifest, tmp_path: Path) -> None:
    content = tmp_path / "root" / CONTENT
    content.mkdir(parents=True)
    data = b"".join((tmp_path / "bundle" / part.name).read_bytes() for part in manifest.parts)
    for blob in manifest.blobs:
        name = blob.digest.removeprefix("sha256:")
        (content / name).write_bytes(data[blob.offset : blob.offset + blob.size])
    cut = manifest.layers[1]
    (content / cut.digest.removeprefix("sha256:")).write_bytes(b"")
    receipt = of_site(engine_with(manifest, classic=False), store(Store.CONTAINERD, tmp_path / "root"), [])
    blobs = {layer.diff_id: layer.blob for layer in receipt.layers}
    expected: dict[str, str | None] = {layer.diff_id: layer.digest for layer in manifest.layers}
    assert blobs == expected | {cut.diff_id: None}


def test_an_engine_whose_disk_is_out_of_sight(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: False)
    receipt = of_site(engine_with(manifest, classic=False), store(Store.CONTAINERD, tmp_path), [])
    assert receipt.free == -1
    assert {layer.blob for layer in receipt.layers} == {None}
