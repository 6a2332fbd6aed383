"""Load plans: which layers go to an engine, in which steps, and the disk that they need."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.manifest import Manifest
from paddock.bundle.imagestore.store import Store
from paddock.bundle.site import loadplan
from paddock.bundle.site.inventory import Inventory
from paddock.bundle.site.loadplan import plan_load, staged_image, staging_name
from samples import bundles

NOTHING = Inventory(
    kind=Store.CLASSIC, chains=frozenset(), blobs=frozenset(), images=frozenset(), takes_zstd=True
)


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Two images with one layer in common: 1, 2 and 1, 3."""
    monkeypatch.setattr(loadplan, "SMALL_STEP", 1)
    return bundles.write(tmp_path)


def carried(manifest: Manifest, inventory: Inventory) -> list[tuple[int, int, int]]:
    """Image, layers up to, layers carried of each step."""
    return [(step.number, step.depth, len(step.carried)) for step in plan_load(manifest, inventory).steps]


@pytest.mark.parametrize("kind", Store)
def test_an_empty_engine_gets_each_layer_once(manifest: Manifest, kind: Store) -> None:
    assert carried(manifest, replace(NOTHING, kind=kind)) == [(0, 1, 1), (0, 2, 1), (1, 2, 1)]


def test_small_layers_go_together(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadplan, "SMALL_STEP", 1 << 30)
    assert carried(manifest, NOTHING) == [(0, 2, 2), (1, 2, 1)]


def test_the_classic_store_goes_by_chains_and_containerd_by_blobs(manifest: Manifest) -> None:
    first, second = manifest.images
    by_chain = replace(NOTHING, chains=frozenset(chain_ids(first.layers)))
    assert carried(manifest, by_chain) == [(0, 2, 0), (1, 2, 1)]
    blobs = frozenset(manifest.layer(diff_id).digest for diff_id in first.layers)
    by_blob = replace(NOTHING, kind=Store.CONTAINERD, blobs=blobs)
    assert carried(manifest, by_blob) == [(0, 2, 0), (1, 2, 1)]
    unpacked_only = replace(
        by_blob, blobs=frozenset(), chains=by_chain.chains, images=frozenset([first.manifest])
    )
    assert carried(manifest, unpacked_only) == [(0, 1, 1), (0, 2, 1), (1, 2, 1)]
    alone = frozenset([second.layers[1]])  # the same layer, but not on the same layers below
    assert carried(manifest, replace(NOTHING, chains=alone)) == carried(manifest, NOTHING)


@pytest.mark.parametrize("kind", Store)
def test_a_complete_engine_gets_nothing(manifest: Manifest, kind: Store) -> None:
    complete = Inventory(
        kind=kind,
        chains=frozenset(chain for image in manifest.images for chain in chain_ids(image.layers)),
        blobs=frozenset(layer.digest for layer in manifest.layers),
        images=frozenset(loadplan.identity(image, kind) for image in manifest.images),
        takes_zstd=True,
    )
    assert plan_load(manifest, complete) == loadplan.LoadPlan(steps=(), disk=0)


def test_disk(manifest: Manifest) -> None:
    """The classic store needs what is unpacked by then, and two steps as they are sent."""
    sizes = [(30_000, 9_000), (500_000, 70_000), (4_000, 1_000)]
    layers = [
        replace(layer, raw_size=raw, size=size)
        for layer, (raw, size) in zip(manifest.layers, sizes, strict=True)
    ]
    manifest = replace(manifest, layers=tuple(layers))

    def disk(inventory: Inventory) -> int:
        return plan_load(manifest, inventory).disk - loadplan.RESERVE

    def unpacked(raw: int) -> int:
        return int(raw * loadplan.IMAGE_OVERHEAD)

    assert disk(NOTHING) == unpacked(530_000) + 70_000 + 1_000
    sent_uncompressed = replace(NOTHING, takes_zstd=False)
    assert disk(sent_uncompressed) == unpacked(530_000) + 500_000 + 4_000
    assert disk(replace(NOTHING, kind=Store.CONTAINERD)) == unpacked(534_000) + 80_000


def test_a_step_on_the_way_is_an_image_of_its_own(manifest: Manifest) -> None:
    first, last = plan_load(manifest, NOTHING).steps[:2]
    image = manifest.images[0]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["x"]},
            "history": [{}, {}],
            "rootfs": {"type": "layers", "diff_ids": list(image.layers)},
        }
    ).encode()
    on_the_way = staged_image(manifest, first, config, b"whole")
    assert on_the_way.image.layers == image.layers[:1]
    assert json.loads(on_the_way.config)["rootfs"]["diff_ids"] == [image.layers[0]]
    assert "config" not in json.loads(on_the_way.config)
    layers = json.loads(on_the_way.manifest)["layers"]
    assert [layer["digest"] for layer in layers] == [manifest.layer(image.layers[0]).digest]
    whole = staged_image(manifest, last, config, b"whole")
    assert (whole.config, whole.manifest, whole.image.layers) == (config, b"whole", image.layers)
    assert whole.image.reference == staging_name(manifest.id, 0, 2)
