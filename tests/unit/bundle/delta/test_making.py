"""A delta: what it carries, and that a site gets the very layers and blobs of a full bundle from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from layer_files import FileLayer, LayerFiles
from paddock.bundle.delta.making import Delta
from paddock.bundle.delta.sitelayers import open_bases
from paddock.bundle.export.plan import plan_export
from paddock.bundle.format.manifest import Carried, Manifest
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.layers.carried import BundleLayers
from paddock.bundle.site.content import BundleContent
from paddock.errors import Interrupted
from samples.deltas import AFTER, BEFORE, SYSTEM, WEIGHTS, contents, delta, full, receipt
from small_images import digest


def carried(manifest: Manifest) -> dict[str, Carried]:
    return {layer.diff_id: layer.carried for layer in manifest.layers}


def size(manifest: Manifest) -> int:
    return sum(part.size for part in manifest.parts)


@pytest.mark.parametrize("known_by", ["bundle", "receipt"])
def test_the_site_gets_what_a_full_bundle_would_bring(
    tmp_path: Path, workshop: LayerFiles, known_by: str
) -> None:
    before = full(tmp_path / "before", workshop, SYSTEM, BEFORE)
    base = tmp_path / "before" if known_by == "bundle" else receipt(tmp_path / "receipt.json", SYSTEM, BEFORE)
    made = delta(tmp_path / "delta", workshop, base, SYSTEM, AFTER, WEIGHTS)
    assert carried(made) == {
        digest(SYSTEM): Carried.BASE,
        digest(AFTER): Carried.RECIPE,
        digest(WEIGHTS): Carried.WHOLE,
    }
    assert made.base is not None
    assert set(made.base.layers) == {digest(SYSTEM), digest(BEFORE)}
    assert made.base.bundles == ((before.id,) if known_by == "bundle" else ("0123456789abcdef",))
    assert size(made) < len(WEIGHTS) + 20_000
    whole = full(tmp_path / "full", workshop, SYSTEM, AFTER, WEIGHTS)
    assert [(image.config, image.manifest) for image in made.images] == [
        (image.config, image.manifest) for image in whole.images
    ]
    site = LayerFiles(tmp_path / "site")
    site.add(SYSTEM)
    site.add(BEFORE)
    with OpenBundle.open([tmp_path / "delta"]) as bundle:
        content = BundleContent(bundle, [site])
        for layer in made.layers:
            assert digest(b"".join(content.raw(layer))) == layer.diff_id
            assert digest(b"".join(content.blob(layer))) == layer.digest == whole.layer(layer.diff_id).digest


def test_frames_come_from_the_base_bundle(tmp_path: Path, workshop: LayerFiles) -> None:
    full(tmp_path / "before", workshop, SYSTEM, BEFORE)
    made = delta(tmp_path / "delta", workshop, tmp_path / "before", SYSTEM, AFTER)
    with OpenBundle.open([tmp_path / "before"]) as before, OpenBundle.open([tmp_path / "delta"]) as bundle:
        content = BundleContent(bundle, [BundleLayers(before)])
        for layer in made.layers:
            assert digest(b"".join(content.blob(layer))) == layer.digest


def test_the_same_delta_has_the_same_bytes_also_when_it_was_stopped(
    tmp_path: Path, workshop: LayerFiles
) -> None:
    base = receipt(tmp_path / "receipt.json", SYSTEM, BEFORE)
    made = delta(tmp_path / "one", workshop, base, SYSTEM, AFTER, WEIGHTS)
    stopping = Stopping(tmp_path / "workshop", digest(WEIGHTS))
    with pytest.raises(Interrupted):
        delta(tmp_path / "two", stopping, base, SYSTEM, AFTER, WEIGHTS)
    assert delta(tmp_path / "two", workshop, base, SYSTEM, AFTER, WEIGHTS) == made


class Stopping(LayerFiles):
    """Ctrl-C when one layer is asked for."""

    def __init__(self, folder: Path, at: str) -> None:
        super().__init__(folder)
        self._at = at

    @contextmanager
    def open(self, name: str) -> Iterator[FileLayer]:
        if name == self._at:
            raise KeyboardInterrupt
        with super().open(name) as layer:
            yield layer


def test_what_the_site_has_is_left_out(tmp_path: Path, workshop: LayerFiles) -> None:
    base = receipt(tmp_path / "receipt.json", SYSTEM, BEFORE, WEIGHTS)
    made = delta(tmp_path / "delta", workshop, base, SYSTEM, WEIGHTS)
    assert set(carried(made).values()) == {Carried.BASE}
    assert size(made) < 5000


def test_a_base_that_the_workshop_has_not_is_of_no_use_but_no_hindrance(tmp_path: Path) -> None:
    workshop = LayerFiles(tmp_path / "workshop")
    workshop.add(AFTER)
    base = receipt(tmp_path / "receipt.json", BEFORE)
    assert carried(delta(tmp_path / "delta", workshop, base, AFTER)) == {digest(AFTER): Carried.WHOLE}


def test_the_plan_says_why(tmp_path: Path, workshop: LayerFiles) -> None:
    base = receipt(tmp_path / "receipt.json", SYSTEM, BEFORE)
    new = contents(SYSTEM, AFTER, WEIGHTS)
    with open_bases([base], "linux/amd64") as site, Delta(site, workshop, new.layers) as made_on:
        planned = plan_export(new, workshop, delta=made_on)
    made = delta(tmp_path / "delta", workshop, base, SYSTEM, AFTER, WEIGHTS)
    recipe = next(layer.recipe for layer in made.layers if layer.recipe)
    blob = made.blob(recipe)
    assert blob is not None
    assert [(layer.carried, layer.size) for layer in planned.layers[:2]] == [
        (Carried.BASE, 0),
        (Carried.RECIPE, blob.size),
    ]
    assert planned.layers[0].reason == "the site has it"
    assert "bytes are in layers of the site" in planned.layers[1].reason
    assert planned.layers[2].reason == "made from layers of the site it is no smaller"
    assert not (tmp_path / "out").exists()
