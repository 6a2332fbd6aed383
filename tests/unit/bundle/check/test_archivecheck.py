"""Hostile bundles, with every hash right and every byte signed: what their archives hold is compared, too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from paddock.bundle.check import trust
from paddock.bundle.format.reader import OpenBundle
from samples import bundles
from samples.site import KEY, Site
from samples.tampered import TAMPERED


def hostile(site: Site, **changes: Any) -> tuple[int, str]:
    shutil.rmtree(site.folder)
    bundles.write(site.folder, **changes)
    with OpenBundle.open([site.folder]) as bundle:
        trust.sign_bundle(bundle, KEY)
    status, out, _ = site.verify()
    return status, out


@pytest.mark.parametrize("case", TAMPERED)
@pytest.mark.fault("hostile archive")
def test_an_archive_that_is_not_what_the_manifest_says(site: Site, case: str) -> None:
    tamper, words = TAMPERED[case]
    status, out = hostile(site, tamper=tamper)
    assert status == 7
    assert "inconsistent" in out
    assert words in out


@pytest.mark.fault("decompression bomb")
def test_a_decompression_bomb_is_noticed_by_what_it_declares(site: Site) -> None:
    """100 MB in 10 kB, said to be a thousand bytes: found by the frames' headers."""
    bomb = bytes(100 << 20)
    made = bundles.write(site.home / "made", images={"a:1": [bomb]}, frame=16 << 20)
    assert made.layers[0].size < 20_000
    layers = (replace(made.layers[0], raw_size=1000),)
    status, out = hostile(site, images={"a:1": [bomb]}, frame=16 << 20, layers=layers)
    assert (status, "more than 1000 raw bytes" in out) == (7, True)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (lambda said: said | {"architecture": "arm64"}, "another platform or other layers"),
        (
            lambda said: said | {"rootfs": {"type": "layers", "diff_ids": []}},
            "another platform or other layers",
        ),
        (lambda said: [], "not that of an image"),
    ],
)
@pytest.mark.fault("hostile archive")
def test_an_image_that_says_something_else(site: Site, config: Callable[[Any], Any], words: str) -> None:
    status, out = hostile(site, config=config)
    assert (status, words in out) == (7, True)
