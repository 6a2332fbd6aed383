"""The layers that a bundle carries whole, as raw layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.bundle.format.manifest import Carried
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.layers.carried import BundleLayers
from paddock.errors import BundleError
from samples import bundles
from small_images import digest


def test_every_layer_comes_out_raw(tmp_path: Path) -> None:
    manifest = bundles.write(tmp_path)
    with OpenBundle.open([tmp_path]) as bundle:
        layers = BundleLayers(bundle)
        for raw in bundles.LAYERS:
            assert layers.holds(digest(raw))
            with layers.open(digest(raw)) as layer:
                assert (layer.diff_id, layer.size) == (digest(raw), len(raw))
                assert b"".join(layer.stream()) == raw
                assert layer.read_at(19_000, 3000) == raw[19_000:22_000]
                assert layer.blob.frames[0].raw_size == 20_000
        assert not layers.holds("sha256:" + "0" * 64)
        with pytest.raises(BundleError, match="does not carry the layer"), layers.open("sha256:" + "0" * 64):
            pass
    assert {layer.carried for layer in manifest.layers} == {Carried.WHOLE}
