"""Sources of layers, and streams that are compared with their digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer_files import LayerFiles
from paddock.bundle.layers.rawlayer import AnyLayers, checked
from paddock.errors import BundleError
from small_images import digest


def test_the_first_source_that_has_a_layer_gives_it(tmp_path: Path) -> None:
    near, far = LayerFiles(tmp_path / "near"), LayerFiles(tmp_path / "far")
    for source in (near, far):
        source.add(b"both")
    far.add(b"far")
    layers = AnyLayers((near, far))
    assert [layers.holds(digest(data)) for data in (b"both", b"far", b"none")] == [True, True, False]
    with layers.open(digest(b"far")) as layer:
        assert b"".join(layer.stream()) == b"far"
    near.path(digest(b"both")).write_bytes(b"near's")
    with layers.open(digest(b"both")) as layer:
        assert layer.read_at(0, layer.size) == b"near's"
    with pytest.raises(BundleError, match="is not carried, and nothing here has it") as caught:
        layers.open(digest(b"none"))
    assert "--base" in caught.value.hint


def test_a_stream_is_given_on_and_compared_at_its_end() -> None:
    pieces = [b"one", b"", b"two"]
    assert list(checked(pieces, digest(b"onetwo"), where="w", hint="h")) == pieces
    given: list[bytes] = []
    with pytest.raises(BundleError, match=f"w: found {digest(b'onetwo')}, expected sha256:0") as caught:
        given.extend(checked(pieces, "sha256:0", where="w", hint="h"))
    assert caught.value.hint == "h"
    assert given == pieces
