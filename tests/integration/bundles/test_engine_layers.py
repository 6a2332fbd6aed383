"""Layers and configurations leave an engine bit for bit, read where they lie or through `docker save`."""

from __future__ import annotations

import hashlib

import pytest

from paddock import engine
from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.layers import EngineLayers
from paddock.bundle.imagestore.savedlayers import FileLayer
from paddock.bundle.imagestore.tarsplit import SplitLayer
from paddock.bundle.layers.carried import FramedLayer
from paddock.errors import BundleError, EngineError
from site_engine import Load, SiteEngine
from small_images import SmallImage, SmallLayer, every_kind_of_member, gzipped, plain, tar, zstandard

BIG = bytes(range(256)) * 8192  # 2 MiB
IMAGE = SmallImage(
    reference="layers/all:1",
    layers=(
        plain(tar({"etc/hostname": b"site\n"})),
        gzipped(tar({"a": b"a" * 1000}, more=every_kind_of_member)),
        zstandard(tar({"big": BIG, "big2": BIG[1:]})),
    ),
)
OTHER = SmallImage(reference="layers/other:1", layers=(IMAGE.layers[0], plain(tar({"x": b"x"}))))


@pytest.fixture(params=["beside", "saved"])
def layers(
    request: pytest.FixtureRequest,
    site: SiteEngine,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> EngineLayers:
    """The engine's layers, with its folders in reach and with them out of reach."""
    monkeypatch.setenv("DOCKER_HOST", site.address)
    load([IMAGE, OTHER])
    if request.param == "saved":  # as from another machine: the same engine, but its paths mean nothing here
        monkeypatch.setattr(engine, "is_local", lambda: False)
    return EngineLayers(engine.connect(timeout=None))


def test_every_layer_is_what_was_loaded(
    layers: EngineLayers, site: SiteEngine, request: pytest.FixtureRequest
) -> None:
    beside = "beside" in request.node.callspec.id
    with layers:
        for _ in range(2):  # a layer can be opened again
            for loaded in (*reversed(IMAGE.layers), OTHER.layers[1]):
                assert layers.holds(loaded.diff_id)
                with layers.open(loaded.diff_id) as layer:
                    assert type(layer) is how(loaded, beside=beside, store=site.store)
                    assert b"".join(layer.stream()) == loaded.raw
                    assert layer.size == len(loaded.raw)
                    assert layer.diff_id == loaded.diff_id


def how(layer: SmallLayer, *, beside: bool, store: str) -> type[object]:
    """In what way a layer is read."""
    if beside and store == "classic":
        return SplitLayer
    return FramedLayer if beside and layer.kind == "+zstd" else FileLayer


def test_any_range_of_a_layer(layers: EngineLayers) -> None:
    raw = IMAGE.layers[1].raw
    with layers, layers.open(IMAGE.layers[1].diff_id) as layer:
        for start in range(0, len(raw) - 600, 257):
            assert layer.read_at(start, 600) == raw[start : start + 600]
        assert layer.read_at(len(raw), 0) == b""
        with pytest.raises(EngineError, match="expected some up to"):
            layer.read_at(len(raw) - 1, 2)


def test_the_configuration(layers: EngineLayers) -> None:
    image = image_store.image(layers.client, IMAGE.reference)
    assert image is not None
    assert image.layers == tuple(layer.diff_id for layer in IMAGE.layers)
    with layers:
        assert hashlib.sha256(layers.configuration(image)).digest() == hashlib.sha256(IMAGE.config).digest()


def test_a_layer_that_is_not_there(layers: EngineLayers) -> None:
    with layers:
        assert not layers.holds("sha256:" + "0" * 64)
        with (
            pytest.raises(BundleError, match="no image of the engine has it"),
            layers.open("sha256:" + "0" * 64),
        ):
            pass


def test_chains_of_the_images(layers: EngineLayers) -> None:
    chains = image_store.chains_held(image_store.images(layers.client))
    assert set(chain_ids(layer.diff_id for layer in IMAGE.layers)) <= chains
    assert chain_ids([IMAGE.layers[1].diff_id])[0] not in chains
