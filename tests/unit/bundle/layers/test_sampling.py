"""Samples of a layer: real files with their hashes from anywhere in it, and which of them show in an image."""

from __future__ import annotations

import hashlib

import pytest

from paddock.bundle.layers import sampling
from paddock.bundle.layers.sampling import samples, visible
from samples import bundles
from samples.bundles import Held, layer_tar, noise

FILES = {
    f"opt/{number}/" + "d" * (number * 9 + 1) + "/file": noise(number, 3000 + number) for number in range(40)
}


def test_samples_are_files_of_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "WINDOW", 40 << 10)
    found = samples(Held(layer_tar(FILES)), places=4, each=3)
    assert len(found) == 12
    for sample in found:
        assert sample.sha256 == hashlib.sha256(FILES[sample.path]).hexdigest()
        assert sample.size == len(FILES[sample.path])


@pytest.mark.parametrize("raw", [b"", bytes(1024), noise(1, 5000), layer_tar({"empty": b""})])
def test_a_layer_without_files_has_no_samples(raw: bytes) -> None:
    assert samples(Held(raw), places=2, each=2) == []


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
    layer = Held(layer_tar({"opt/a/file": b"one"}))
    assert visible("opt/a/file", layer, [Held(layer_tar(above))]) is shows


def test_a_file_of_a_tar_in_the_layer_is_no_member() -> None:
    inner = layer_tar({"inner": b"one"})
    assert not visible("inner", Held(layer_tar({"archive.tar": inner})), [])
    assert visible("inner", Held(inner), [])
    assert not visible(
        "inner", Held(inner[:1024] + bundles.layer_tar({"inner": b"two"})), []
    )  # the last one counts
