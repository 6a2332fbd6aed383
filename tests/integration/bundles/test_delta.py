"""Deltas from one engine into another state of it, in both stores: the next release, back again, and wrong
bases.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from layer_files import noise, text
from paddock.bundle.format.manifest import Carried, Manifest, parse
from site_engine import SiteEngine
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

    def __init__(
        self, engine: SiteEngine, load: Callable[[Sequence[SmallImage]], None], folder: Path
    ) -> None:
        self.engine, self.folder, self._load = engine, folder, load

    def holds(self, *images: SmallImage) -> None:
        """From now on it has these images and no other."""
        for _ in range(2):
            if left := self.engine.docker("images", "--all", "--quiet").split():
                self.engine.docker("image", "rm", "--force", *left, check=False)
        if images:
            self._load(images)

    def paddock(self, *arguments: str | Path) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "paddock", *map(str, arguments)],
            env={**os.environ, **self.engine.environment(), "PADDOCK_STATE": str(self.folder / "state")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def done(self, *arguments: str | Path) -> str:
        ran = self.paddock(*arguments)
        assert ran.returncode == 0, ran.stderr
        return str(ran.stdout)

    def export(self, name: str, *arguments: str | Path) -> Path:
        self.done("export", "--no-tool", f"--image={NAME}", "-o", self.folder / name, *arguments)
        return self.folder / name

    def layers(self) -> list[str]:
        return list(
            json.loads(
                self.engine.docker(
                    "image", "inspect", "--format", "{{json .RootFS.Layers}}", NAME, check=False
                )
            )
        )


@pytest.fixture
def host(site: SiteEngine, load: Callable[[Sequence[SmallImage]], None], tmp_path: Path) -> Host:
    return Host(site, load, tmp_path)


def layers(image: SmallImage) -> list[str]:
    return [each.diff_id for each in image.layers]


def manifest(folder: Path) -> Manifest:
    return parse((folder / "bundle.json").read_bytes())


def size(folder: Path) -> int:
    return sum(each.size for each in manifest(folder).parts)


def test_the_next_release_and_back(host: Host) -> None:
    host.holds(BEFORE)
    before = host.export("before")
    host.holds()
    host.done("import", before)
    host.done("receipt", "-o", host.folder / "receipt.json")
    host.holds(BEFORE)  # the workshop, which keeps the release before
    host.engine.docker("tag", NAME, "delta/app:before")
    host._load([AFTER])
    planned = json.loads(
        host.done("export", "--no-tool", f"--image={NAME}", "--base", before, "--plan", "--json")
    )
    assert [each["carried"] for each in planned["layers"]] == ["base", "recipe", "whole"]
    on_bundle = host.export("on-bundle", "--base", before)
    on_receipt = host.export("on-receipt", "--base", host.folder / "receipt.json")
    assert size(on_bundle) < 20_000 < size(before) / 100
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
    host._load([AFTER])
    delta = host.export("delta", "--base", before)
    for held in ((), (OTHER,)):
        host.holds(*held)
        refused = host.paddock("import", delta)
        assert refused.returncode == 7
        assert "base layers that are not here" in refused.stderr
        assert "import that bundle first" in refused.stderr
        assert set(host.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()) == {
            each.reference for each in held
        }
    host.done("import", delta, "--base", before)  # from the bundle, without importing that
    assert layers(AFTER) == host.layers()


@pytest.mark.fault("base by layer, not by blob")
def test_a_base_that_is_there_by_layer_but_not_by_blob(host: Host) -> None:
    host.holds(BEFORE)
    before = host.export("before")
    host.engine.docker("tag", NAME, "delta/app:before")
    host._load([AFTER])
    delta = host.export("delta", "--base", before)
    assert {each.carried for each in manifest(delta).layers} == {Carried.BASE, Carried.RECIPE, Carried.WHOLE}
    host.holds(BEFORE)  # as an engine that pulled it has it: gzip, not our frames
    host.done("import", delta)
    assert layers(AFTER) == host.layers()
    saved = subprocess.run(
        ["docker", "save", NAME],
        env={**os.environ, **host.engine.environment()},
        capture_output=True,
        check=True,
    ).stdout
    assert len(saved) > 8 << 20
