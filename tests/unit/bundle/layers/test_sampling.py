"""Samples of a layer: files from anywhere in it with their hashes, and which of them an image shows."""

from __future__ import annotations

import hashlib

import pytest

from layer_files import MemoryLayer, noise
from paddock.bundle.layers import sampling
from paddock.bundle.layers.sampling import is_visible, samples
from samples import bundles
from samples.bundles import layer_tar

FILES = {
    f"opt/{number}/" + "d" * (number * 9 + 1) + "/file": noise(3000 + number, number) for number in range(40)
}


def test_samples_are_files_of_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "WINDOW", 40 << 10)
    found = samples(MemoryLayer(layer_tar(FILES)), windows=4, most=3)
    assert len(found) == 12
    for sample in found:
        assert sample.sha256 == hashlib.sha256(FILES[sample.path]).hexdigest()
        assert sample.size == len(FILES[sample.path])


@pytest.mark.parametrize("raw", [b"", bytes(1024), noise(5000, 1), layer_tar({"empty": b""})])
def test_a_layer_without_files_has_no_samples(raw: bytes) -> None:
    assert samples(MemoryLayer(raw), windows=2, most=2) == []


@pytest.mark.parametrize(
    ("above", "shows"),
    [
        ({"opt/other": b"x"}, True),
        ({"opt/a/file": b"x"}, False),
        ({"opt/a/.wh.file": b""}, False),
        ({"opt/.wh.a": b""}, False),
        ({"opt/.wh..wh..opq": b""}, False),
    ],
)
def test_what_hides_a_file(above: dict[str, bytes], shows: bool) -> None:
    layer = MemoryLayer(layer_tar({"opt/a/file": b"one"}))
    assert is_visible("opt/a/file", layer, [MemoryLayer(layer_tar(above))]) is shows


def test_a_file_of_a_tar_in_the_layer_is_no_member() -> None:
    inner = layer_tar({"inner": b"one"})
    assert not is_visible("inner", MemoryLayer(layer_tar({"archive.tar": inner})), [])
    assert is_visible("inner", MemoryLayer(inner), [])
    assert not is_visible(
        "inner", MemoryLayer(inner[:1024] + bundles.layer_tar({"inner": b"two"})), []
    )  # the last one counts
