"""Deltas of small layers: a workshop that has every layer, and bundles, deltas and receipts made from it."""

from __future__ import annotations

import json
from pathlib import Path

from layer_files import LayerFiles, noise, text
from paddock.bundle.delta.making import Delta
from paddock.bundle.delta.sitelayers import open_bases
from paddock.bundle.export.contents import Contents, SourceImage
from paddock.bundle.export.writing import write_bundle
from paddock.bundle.format.manifest import Manifest
from paddock.bundle.format.receipt import FORMAT, HeldBundle, HeldLayer, Receipt
from recording import Recorder
from small_images import digest, tar

LIBRARY = noise(6 << 20, 3)
PACKAGES = {f"site/p{number}.py": text(30_000 + number, number) for number in range(60)}
SYSTEM = tar({"bin/sh": text(200_000)})
BEFORE = tar({**PACKAGES, "site/lib.so": LIBRARY})
AFTER = tar({**PACKAGES, "site/p7.py": text(30_007, 7) + b"# fixed\n", "site/lib.so": LIBRARY})
WEIGHTS = tar({"weights": noise(2 << 20, 4)})


def workshop(folder: Path) -> LayerFiles:
    """An engine that has every layer."""
    source = LayerFiles(folder)
    for layer in (SYSTEM, BEFORE, AFTER, WEIGHTS):
        source.add(layer)
    return source


def contents(*layers: bytes) -> Contents:
    """One image with these layers, to be exported."""
    diff_ids = tuple(map(digest, layers))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    image = SourceImage(
        reference="paddock/one:1", platform="linux/amd64", config=json.dumps(config).encode(), layers=diff_ids
    )
    return Contents(platform="linux/amd64", stack=None, images=(image,), files=())


def full(folder: Path, source: LayerFiles, *layers: bytes) -> Manifest:
    """Write a full bundle of these layers."""
    return write_bundle(contents(*layers), folder, source, report=Recorder())


def delta(folder: Path, source: LayerFiles, base: Path, *layers: bytes) -> Manifest:
    """Write a delta of these layers on `base`, a bundle or a receipt."""
    new = contents(*layers)
    with open_bases([base], "linux/amd64") as site, Delta(site, source, new.layers) as made_on:
        return write_bundle(new, folder, source, report=Recorder(), delta=made_on)


def receipt(path: Path, *layers: bytes, platform: str = "linux/amd64") -> Path:
    """Write the receipt of a site that has these layers."""
    held = tuple(HeldLayer(diff_id=digest(layer), blob=None) for layer in layers)
    written = Receipt(
        format=FORMAT,
        tool="0.1.0",
        time="now",
        platform=platform,
        store="classic",
        engine="26.1.5",
        driver=None,
        free=-1,
        bundles=(HeldBundle(id="0123456789abcdef", sequence=1, time="then", stack=None),),
        images=(),
        layers=held,
    )
    path.write_bytes(written.to_bytes())
    return path
