"""What an engine has already, and in which form it takes the layers that it lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.manifest import Carried, Layer, Manifest
from paddock.bundle.imagestore.store import EngineStore, Store
from paddock.bundle.site.inventory import Inventory, take_inventory
from samples import bundles

CLASSIC = Inventory(
    kind=Store.CLASSIC, chains=frozenset(), blobs=frozenset(), images=frozenset(), takes_zstd=True
)
CONTAINERD = replace(CLASSIC, kind=Store.CONTAINERD)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return bundles.write(tmp_path / "bundle")


@pytest.fixture
def layer(manifest: Manifest) -> Layer:
    return manifest.layers[0]


def test_what_hardly_compresses_is_sent_as_its_tar_to_the_classic_store(layer: Layer) -> None:
    weights = replace(layer, size=1_500, raw_size=1_900)
    programs = replace(layer, size=600, raw_size=1_700)
    assert (CLASSIC.sent_size(weights), CLASSIC.sent_size(programs)) == (1_900, 600)
    assert CONTAINERD.sent_size(weights) == 1_500


def test_a_layer_that_is_made_is_sent_as_its_tar_to_the_classic_store(layer: Layer) -> None:
    made = replace(layer, carried=Carried.RECIPE, size=1, raw_size=3)
    assert CLASSIC.as_blob(replace(made, carried=Carried.WHOLE))
    assert not CLASSIC.as_blob(made)
    assert CLASSIC.sent_size(made) == made.raw_size
    assert CONTAINERD.sent_size(made) == made.size


def engine_with(manifest: Manifest) -> Any:
    """An engine that has the first image of a bundle."""
    image = manifest.images[0]
    attributes = {
        "Id": image.manifest,
        "RepoTags": [image.reference],
        "Os": "linux",
        "Architecture": "amd64",
        "RootFS": {"Layers": list(image.layers)},
    }
    return SimpleNamespace(
        api=SimpleNamespace(images=lambda **_: [{"Id": image.manifest}]),
        images=SimpleNamespace(get=lambda _: SimpleNamespace(attrs=attributes)),
    )


def store(kind: Store, root: Path, version: str = "28.5.2") -> EngineStore:
    return EngineStore(kind=kind, driver="overlay2", root=root, version=version, platform="linux/amd64")


def test_the_classic_store_is_asked_for_its_images(manifest: Manifest, tmp_path: Path) -> None:
    taken = take_inventory(engine_with(manifest), store(Store.CLASSIC, tmp_path), manifest, [])
    image = manifest.images[0]
    assert taken == Inventory(
        kind=Store.CLASSIC,
        chains=frozenset(chain_ids(image.layers)),
        blobs=frozenset(),
        images=frozenset([image.manifest]),
        takes_zstd=True,
    )


@pytest.mark.parametrize(
    ("version", "takes_zstd"), [("20.10.24+dfsg1", False), ("23.0.0", True), ("dev", True)]
)
def test_old_engines_take_no_zstd(
    manifest: Manifest, tmp_path: Path, version: str, *, takes_zstd: bool
) -> None:
    taken = take_inventory(engine_with(manifest), store(Store.CLASSIC, tmp_path, version), manifest, [])
    assert taken.takes_zstd is takes_zstd


def test_blobs_count_that_lie_whole_in_the_content_store(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: True)
    content = tmp_path / "root/containerd/daemon/io.containerd.content.v1.content/blobs/sha256"
    content.mkdir(parents=True)
    whole, cut = manifest.layers[:2]
    (content / whole.digest.removeprefix("sha256:")).write_bytes(bytes(whole.size))
    (content / cut.digest.removeprefix("sha256:")).write_bytes(bytes(cut.size - 1))
    known = bundles.write(tmp_path / "known", images={"a:1": [bundles.layer_tar({"a": b"1"})]})
    older = known.layers[0]
    (content / older.digest.removeprefix("sha256:")).write_bytes(bytes(older.size))
    containerd = store(Store.CONTAINERD, tmp_path / "root")
    assert take_inventory(engine_with(manifest), containerd, manifest, []).blobs == {whole.digest}
    both = take_inventory(engine_with(manifest), containerd, manifest, [known])
    assert both.blobs == {whole.digest, older.digest}


@pytest.mark.parametrize("gives", [True, False])
def test_where_the_content_store_is_out_of_sight_known_images_count_that_are_given_out(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gives: bool
) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: False)
    monkeypatch.setattr("paddock.bundle.site.inventory.gives_layers", lambda _client, _image: gives)
    containerd = store(Store.CONTAINERD, tmp_path)
    assert take_inventory(engine_with(manifest), containerd, manifest, []).blobs == frozenset()
    taken = take_inventory(engine_with(manifest), containerd, manifest, [manifest])
    expected = {manifest.layer(diff_id).digest for diff_id in manifest.images[0].layers}
    assert taken.blobs == (expected if gives else set())
