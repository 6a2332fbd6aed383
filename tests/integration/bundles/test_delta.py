"""Deltas from one state of an engine to another, in both stores: the next release, back, and wrong bases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import programs
from bundle_folders import manifest_of, size_of_parts
from layer_files import noise, text
from paddock.bundle.format.manifest import Carried
from programs import Finished, succeeded
from site_engine import Load, SiteEngine
from site_host import unchecked
from small_images import SmallImage, gzipped, plain, tar

NAME = "delta/app:1"
SYSTEM = plain(tar({"etc/hostname": b"site\n", "bin/sh": text(300_000)}))
PACKAGES = {f"site/p{number}.py": text(20_000 + number, number) for number in range(100)}
LIBRARY = {"site/lib.so": noise(8 << 20, 9)}
BEFORE = SmallImage(reference=NAME, layers=(SYSTEM, gzipped(tar({**PACKAGES, **LIBRARY}))))
CHANGED = tar({**PACKAGES, "site/p3.py": text(20_003, 3) + b"# fixed\n", **LIBRARY})
AFTER = SmallImage(reference=NAME, layers=(SYSTEM, gzipped(CHANGED), plain(tar({"opt/new": b"1\n"}))))
OTHER = SmallImage(reference="delta/other:1", layers=(plain(tar({"etc/hostname": b"other\n"})),))


class Host:
    """One engine as workshop and as site; what it holds changes in between."""

    def __init__(self, engine: SiteEngine, load: Load, folder: Path) -> None:
        self.engine, self.folder, self.load = engine, folder, load

    def holds(self, *images: SmallImage) -> None:
        """From now on it has these images and no other."""
        self.engine.remove_images()
        if images:
            self.load(images)

    def paddock(self, *arguments: str | Path) -> Finished:
        environment = {**self.engine.environment(), "PADDOCK_STATE": str(self.folder / "state")}
        return programs.paddock(*unchecked(arguments), environment=environment)

    def done(self, *arguments: str | Path) -> str:
        return succeeded(self.paddock(*arguments))

    def export(self, name: str, *arguments: str | Path) -> Path:
        self.done("export", "--no-tool", f"--image={NAME}", "-o", self.folder / name, *arguments)
        return self.folder / name

    def layers(self) -> list[str]:
        return self.engine.layers(NAME)


@pytest.fixture
def host(site: SiteEngine, load: Load, tmp_path: Path) -> Host:
    return Host(site, load, tmp_path)


def layers(image: SmallImage) -> list[str]:
    return [layer.diff_id for layer in image.layers]


def test_the_next_release_and_back(host: Host) -> None:
    host.holds(BEFORE)
    before = host.export("before")
    host.holds()
    host.done("import", before)
    host.done("receipt", "-o", host.folder / "receipt.json")
    host.holds(BEFORE)  # the workshop, which keeps the release before
    host.engine.docker("tag", NAME, "delta/app:before")
    host.load([AFTER])
    plan = host.done("export", "--no-tool", f"--image={NAME}", "--base", before, "--plan", "--json")
    assert [layer["carried"] for layer in json.loads(plan)["layers"]] == ["base", "recipe", "whole"]
    on_bundle = host.export("on-bundle", "--base", before)
    on_receipt = host.export("on-receipt", "--base", host.folder / "receipt.json")
    assert size_of_parts(on_bundle) < 20_000 < size_of_parts(before) / 100
    for delta in (on_bundle, on_receipt):
        host.done("verify", delta)
        host.holds()
        host.done("import", before)
        host.done("import", delta)
        assert layers(AFTER) == host.layers()
        made = host.engine.docker("create", NAME, "true").strip()
        host.engine.docker("rm", made)
        host.done("rollback")
        assert layers(BEFORE) == host.layers()


@pytest.mark.fault("wrong base")
def test_a_site_without_the_base_is_left_alone(host: Host) -> None:
    host.holds(BEFORE)
    before = host.export("before")
    host.engine.docker("tag", NAME, "delta/app:before")
    host.load([AFTER])
    delta = host.export("delta", "--base", before)
    for held in ((), (OTHER,)):
        host.holds(*held)
        refused = host.paddock("import", delta)
        assert refused.returncode == 7
        assert "base layers that are not here" in refused.stderr
        assert "import that bundle first" in refused.stderr
        assert set(host.engine.names()) == {image.reference for image in held}
    host.done("import", delta, "--base", before)  # from the bundle, without importing that
    assert layers(AFTER) == host.layers()


@pytest.mark.fault("base by layer, not by blob")
def test_a_base_that_is_there_by_layer_but_not_by_blob(host: Host) -> None:
    host.holds(BEFORE)
    before = host.export("before")
    host.engine.docker("tag", NAME, "delta/app:before")
    host.load([AFTER])
    delta = host.export("delta", "--base", before)
    assert {layer.carried for layer in manifest_of(delta).layers} == set(Carried)
    host.holds(BEFORE)  # as an engine that pulled it has it: gzip, not our frames
    host.done("import", delta)
    assert layers(AFTER) == host.layers()
    host.engine.docker("save", "--output", str(host.folder / "saved.tar"), NAME)
    assert (host.folder / "saved.tar").stat().st_size > 8 << 20
