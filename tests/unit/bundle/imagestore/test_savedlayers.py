"""Layers out of `docker save`, in whichever form and order an engine gives them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from layer_files import noise
from paddock.bundle.imagestore.savedlayers import (
    FileLayer,
    SavedImage,
    decompressing,
    gives_layers,
    is_compressed,
)
from paddock.errors import EngineError
from small_images import SmallImage, archive, digest, gzipped, plain, tar, zstandard

LAYERS = (
    plain(tar({"one": noise(3000, 1)})),
    gzipped(tar({"two": noise(2_000_000, 2)})),
    zstandard(tar({"three": noise(9000, 3)})),
)
IMAGE = SmallImage(reference="paddock/one:1", layers=LAYERS)


def engine(saved: bytes) -> Any:
    """An engine whose `docker save` gives these bytes."""

    def get_image(_image: str, chunk_size: int) -> Iterator[bytes]:
        yield from (saved[start : start + chunk_size] for start in range(0, len(saved), chunk_size))

    return SimpleNamespace(api=SimpleNamespace(get_image=get_image))


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[SavedImage]:
    image = SavedImage(engine(archive([IMAGE])), IMAGE.reference, tmp_path)
    yield image
    image.close()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_blob_is_decompressed_whatever_its_form(layer: Any) -> None:
    assert is_compressed(io.BytesIO(layer.blob)) == bool(layer.kind)
    assert decompressing(io.BytesIO(layer.blob)).read() == layer.raw


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_layers_come_in_any_order_and_once(saved: SavedImage, order: tuple[int, ...], tmp_path: Path) -> None:
    for number in order:
        with saved.layer(LAYERS[number].diff_id) as layer:
            assert layer is not None
            assert (layer.diff_id, layer.size) == (LAYERS[number].diff_id, len(LAYERS[number].raw))
            assert b"".join(layer.stream()) == LAYERS[number].raw
            assert layer.read_at(100, 50) == LAYERS[number].raw[100:150]
    with saved.layer(LAYERS[0].diff_id) as again, saved.layer("sha256:" + "0" * 64) as absent:
        assert (again, absent) == (None, None)
    saved.close()
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_is_found(saved: SavedImage) -> None:
    assert saved.configuration() == IMAGE.config
    assert digest(saved.configuration()) in IMAGE.blobs()


def test_an_engine_that_gives_no_configuration(tmp_path: Path) -> None:
    saved = SavedImage(engine(tar({"manifest.json": b"[]"})), "one", tmp_path)
    with pytest.raises(EngineError, match="`docker save` gave no configuration"):
        saved.configuration()
    saved.close()


def test_an_archive_that_is_none_is_the_engines_fault(tmp_path: Path) -> None:
    saved = SavedImage(engine(b"no tar" * 1000), "one", tmp_path)
    with pytest.raises(EngineError, match="refused a request"):
        saved.configuration()
    saved.close()


def test_whether_an_engine_gives_layers() -> None:
    assert gives_layers(engine(archive([IMAGE])), IMAGE.reference)
    assert not gives_layers(engine(tar({"manifest.json": b"[]", "oci-layout": b"{}"})), IMAGE.reference)


def test_a_file_that_is_too_short_is_told() -> None:
    layer = FileLayer("sha256:1", io.BytesIO(b"four"))
    assert layer.read_at(1, 3) == b"our"
    with pytest.raises(EngineError, match="found 4 bytes, expected some up to 5"):
        layer.read_at(1, 4)
