"""What keeps a bundle from a host: another platform, too many layers, missing base layers, full disks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from layer_files import LayerFiles
from paddock.bundle.format.manifest import Compression, Manifest
from paddock.bundle.imagestore.store import EngineStore, Store
from paddock.bundle.site import hostcheck
from paddock.bundle.site.inventory import Inventory
from paddock.bundle.site.loadplan import LoadPlan, plan_load
from paddock.errors import BundleError
from recording import Recorder
from samples import bundles


def store(root: Path, kind: Store = Store.CLASSIC) -> EngineStore:
    return EngineStore(kind=kind, driver="overlay2", root=root, version="28.5.2", platform="linux/amd64")


def inventory(kind: Store = Store.CLASSIC) -> Inventory:
    nothing = frozenset[str]()
    return Inventory(kind=kind, chains=nothing, blobs=nothing, images=nothing, takes_zstd=True)


@pytest.fixture
def delta(tmp_path: Path) -> Manifest:
    """A delta that is made on one layer."""
    images = {"a:1": [bundles.LAYERS[0]]}
    return bundles.write(tmp_path / "delta", images=images, on=bundles.LAYERS[1:2])


@pytest.fixture
def base(tmp_path: Path) -> LayerFiles:
    """A source that has the base layer."""
    source = LayerFiles(tmp_path / "base")
    source.add(bundles.LAYERS[1])
    return source


def test_another_platform_is_refused(tmp_path: Path) -> None:
    manifest = bundles.write(tmp_path, platform="linux/arm64")
    with pytest.raises(BundleError, match="is for linux/arm64, the engine of this host runs linux/amd64"):
        hostcheck.require_platform(manifest, store(tmp_path))


def test_more_layers_than_engines_take_are_refused(tmp_path: Path) -> None:
    manifest = bundles.write(tmp_path)
    hostcheck.require_platform(manifest, store(tmp_path))
    image = replace(manifest.images[0], layers=manifest.images[0].layers * 63)
    with pytest.raises(BundleError, match="found 126 layers, engines take at most 125"):
        hostcheck.require_platform(replace(manifest, images=(image,)), store(tmp_path))


def test_a_delta_needs_its_base_layers(delta: Manifest, base: LayerFiles, tmp_path: Path) -> None:
    plan = plan_load(delta, inventory())
    hostcheck.require_base(delta, plan, inventory(), [base])
    with pytest.raises(BundleError, match="needs 1 of 1 base layers that are not here") as refused:
        hostcheck.require_base(delta, plan, inventory(), [LayerFiles(tmp_path / "empty")])
    assert refused.value.hint.startswith("import that bundle first")


def test_where_nothing_is_to_be_loaded_no_base_is_needed(delta: Manifest) -> None:
    hostcheck.require_base(delta, LoadPlan(steps=(), disk=0), inventory(), [])


def test_blobs_for_containerd_need_the_library_that_made_them(delta: Manifest, base: LayerFiles) -> None:
    delta = replace(delta, compression=Compression(level=3, libzstd="1.0.0"))
    for kind in Store:
        plan = plan_load(delta, inventory(kind))
        if kind is Store.CLASSIC:
            hostcheck.require_base(delta, plan, inventory(kind), [base])
            continue
        with pytest.raises(BundleError, match=r"needs blobs that libzstd 1\.0\.0 makes"):
            hostcheck.require_base(delta, plan, inventory(kind), [base])


def test_the_disk_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Recorder) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: True)
    monkeypatch.setattr("paddock.durable.free_bytes", lambda _: 1000)
    hostcheck.require_disk(1000, store(tmp_path), report=report)
    words = f"{tmp_path}: found 1,000 bytes free, expected 1,001 for this bundle in the classic store"
    with pytest.raises(BundleError, match=words):
        hostcheck.require_disk(1001, store(tmp_path), report=report)
    assert report.lines == []


def test_a_disk_that_is_out_of_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Recorder
) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: False)
    hostcheck.require_disk(0, store(tmp_path), report=report)
    assert report.warned == []
    hostcheck.require_disk(1000, store(tmp_path), report=report)
    assert report.warned == ["disk: cannot see the engine's disk from here; it needs 1,000 bytes"]


@pytest.mark.parametrize(("local", "enough"), [(True, 1500), (False, 1000)])
def test_room_for_base_layers_beside_what_the_engine_needs_on_the_same_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, local: bool, enough: int
) -> None:
    monkeypatch.setattr("paddock.engine.is_local", lambda: local)
    monkeypatch.setattr("paddock.durable.free_bytes", lambda _: enough)
    hostcheck.require_spool(tmp_path, 1000, 500, store(tmp_path))
    monkeypatch.setattr("paddock.durable.free_bytes", lambda _: enough - 1)
    with pytest.raises(BundleError, match=f"expected {enough:,} for the base layers that are unpacked there"):
        hostcheck.require_spool(tmp_path, 1000, 500, store(tmp_path))
    hostcheck.require_spool(tmp_path, 0, 500, store(tmp_path))
