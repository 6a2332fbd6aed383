"""Bundles are brought into engines of both stores: completely, again, after a cut, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from samples import bundles
from siteengine import SiteEngine

NEW = "paddock/cpu-api:0.1.0"
OTHER = "paddock/cpu-vlm:0.1.0"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A host at the site: its engine, and a state folder of its own."""

    engine: SiteEngine
    state: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.engine.environment(), "PADDOCK_STATE": str(self.state)}

    def paddock(self, *arguments: str | Path) -> Any:
        argv = [sys.executable, "-m", "paddock", *map(str, arguments)]
        return subprocess.run(
            argv,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def names(self) -> set[str]:
        return set(self.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split())

    def layers(self, reference: str) -> list[str]:
        return list(
            json.loads(self.engine.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference))
        )


@pytest.fixture
def host(site: SiteEngine, tmp_path: Path) -> Iterator[Site]:
    yield Site(engine=site, state=tmp_path / "state")
    if left := site.docker("ps", "--all", "--quiet").split():
        site.docker("rm", "--force", *left)
    for _ in range(2):
        if left := site.docker("images", "--all", "--quiet").split():
            site.docker("image", "rm", "--force", *left, check=False)


def test_a_full_bundle(host: Site, tmp_path: Path) -> None:
    manifest = bundles.write(tmp_path / "bundle")
    plan = host.paddock("import", tmp_path / "bundle", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert host.names() == set()
    done = host.paddock("import", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert host.names() == {NEW, OTHER}
    for image in manifest.images:
        assert host.layers(image.reference) == list(image.layers)
    assert (host.state / "stacks/stack/compose.yaml").read_bytes() == bundles.FILES["stack/compose.yaml"]
    assert list((host.state / "imports").iterdir()) == []
    again = host.paddock("import", tmp_path / "bundle", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["changed"] is False
    receipt = host.paddock("receipt")
    assert receipt.returncode == 0, receipt.stderr
    held = {each["diff_id"]: each["blob"] for each in json.loads(receipt.stdout)["layers"]}
    blobs = {each.diff_id: each.digest if host.engine.store == "containerd" else None for each in manifest.layers}
    assert held == blobs
