"""A delta: what it carries, that the site gets the very layers and blobs of a full bundle from it, and
refusals.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from layer_files import LayerFiles, noise, text
from paddock.bundle.delta.assembling import open_recipe
from paddock.bundle.delta.making import Delta
from paddock.bundle.delta.sitelayers import open_bases
from paddock.bundle.export.contents import Contents, SourceImage
from paddock.bundle.export.plan import plan
from paddock.bundle.export.writing import write_bundle
from paddock.bundle.format.manifest import Carried, Manifest
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.receipt import FORMAT, HeldBundle, HeldLayer, Receipt
from paddock.bundle.layers.carried import BundleLayers
from paddock.bundle.site.content import BundleContent
from paddock.errors import BundleError, Interrupted
from small_images import digest, tar

LIBRARY = noise(6 << 20, 3)
PACKAGES = {f"site/p{number}.py": text(30_000 + number, number) for number in range(60)}
SYSTEM = tar({"bin/sh": text(200_000)})
BEFORE = tar({**PACKAGES, "site/lib.so": LIBRARY})
AFTER = tar({**PACKAGES, "site/p7.py": text(30_007, 7) + b"# fixed\n", "site/lib.so": LIBRARY})
WEIGHTS = tar({"weights": noise(2 << 20, 4)})


class Silent:
    def say(self, message: str, /) -> None: ...

    def warn(self, message: str, /) -> None: ...

    def progress(self, label, *, total, unit, done=0):
        return _Progress()


class _Progress:
    def __enter__(self):
        return lambda _amount: None

    def __exit__(self, *_):
        return None


def contents(*layers: bytes) -> Contents:
    diff_ids = tuple(map(digest, layers))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    image = SourceImage(
        reference="paddock/one:1", platform="linux/amd64", config=json.dumps(config).encode(), layers=diff_ids
    )
    return Contents(platform="linux/amd64", stack=None, images=(image,), files=())


@pytest.fixture
def workshop(tmp_path: Path) -> LayerFiles:
    """An engine that has everything."""
    source = LayerFiles(tmp_path / "workshop")
    for layer in (SYSTEM, BEFORE, AFTER, WEIGHTS):
        source.add(layer)
    return source


def full(folder: Path, workshop: LayerFiles, *layers: bytes) -> Manifest:
    return write_bundle(contents(*layers), folder, workshop, report=Silent())


def delta(folder: Path, workshop: LayerFiles, base: Path, *layers: bytes) -> Manifest:
    new = contents(*layers)
    with open_bases([base], "linux/amd64") as site, Delta(site, workshop, new.layers) as made_on:
        return write_bundle(new, folder, workshop, report=Silent(), delta=made_on)


def receipt(path: Path, *layers: bytes, platform: str = "linux/amd64") -> Path:
    held = tuple(HeldLayer(diff_id=digest(each), blob=None) for each in layers)
    found = Receipt(
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
    path.write_bytes(found.to_bytes())
    return path


def carried(manifest: Manifest) -> dict[str, Carried]:
    return {each.diff_id: each.carried for each in manifest.layers}


def size(manifest: Manifest) -> int:
    return sum(each.size for each in manifest.parts)


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
    assert [(each.config, each.manifest) for each in made.images] == [
        (each.config, each.manifest) for each in whole.images
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

    def open(self, name: str):
        if name == self._at:
            raise KeyboardInterrupt
        return super().open(name)


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
        planned = plan(new, workshop, delta=made_on)
    made = delta(tmp_path / "delta", workshop, base, SYSTEM, AFTER, WEIGHTS)
    recipe = next(each.recipe for each in made.layers if each.recipe)
    blob = made.blob(recipe)
    assert blob is not None
    assert [(each.carried, each.size) for each in planned.layers[:2]] == [
        (Carried.BASE, 0),
        (Carried.RECIPE, blob.size),
    ]
    assert planned.layers[0].reason == "the site has it"
    assert "bytes are in layers of the site" in planned.layers[1].reason
    assert planned.layers[2].reason == "made from layers of the site it is no smaller"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("written", "words"),
    [(b"{}", "is not a receipt"), (b"x", "is not JSON")],
)
def test_what_is_no_base(tmp_path: Path, written: bytes, words: str) -> None:
    (tmp_path / "base").write_bytes(written)
    with pytest.raises(BundleError, match=words), open_bases([tmp_path / "base"], "linux/amd64"):
        pass


def test_another_platform_is_no_base(tmp_path: Path, workshop: LayerFiles) -> None:
    full(tmp_path / "before", workshop, SYSTEM)
    for base in (tmp_path / "before", receipt(tmp_path / "receipt.json", SYSTEM)):
        with pytest.raises(BundleError, match="expected linux/arm64"), open_bases([base], "linux/arm64"):
            pass


def test_a_recipe_for_another_layer_is_refused(tmp_path: Path, workshop: LayerFiles) -> None:
    base = receipt(tmp_path / "receipt.json", SYSTEM, BEFORE)
    made = delta(tmp_path / "delta", workshop, base, SYSTEM, AFTER)
    layer = replace(made.layer(digest(AFTER)), diff_id=digest(b"another"))
    with OpenBundle.open([tmp_path / "delta"]) as bundle:
        with pytest.raises(BundleError, match="makes layer"), open_recipe(bundle, layer, workshop):
            pass
        layer = next(each for each in made.layers if each.recipe is None)
        with pytest.raises(BundleError, match="has no recipe for it"), open_recipe(bundle, layer, workshop):
            pass
