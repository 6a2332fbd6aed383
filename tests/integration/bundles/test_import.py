"""Bundles are brought into engines of both stores: completely, again, after a cut, and back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from layer_files import noise
from paddock.bundle.format.manifest import Carried, Manifest
from samples import bundles, cut_short
from site_host import Site

NEW = "paddock/cpu-api:0.1.0"
OTHER = "paddock/cpu-vlm:0.1.0"


def test_a_full_bundle(host: Site, tmp_path: Path) -> None:
    manifest = bundles.write(tmp_path / "bundle")
    plan = host.paddock("import", tmp_path / "bundle", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert host.names() == set()
    part = tmp_path / "bundle" / manifest.parts[1].name
    part.rename(tmp_path / part.name)
    plan = host.paddock("import", tmp_path / "bundle", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert f"the first is {part.name}; name the folders" in plan.stderr
    host.refuses("import", tmp_path / "bundle", words="or name the folders that have them, too")
    (tmp_path / part.name).rename(part)
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
    held = {layer["diff_id"]: layer["blob"] for layer in json.loads(receipt.stdout)["layers"]}
    has_blobs = host.engine.store == "containerd"
    assert held == {layer.diff_id: layer.digest if has_blobs else None for layer in manifest.layers}


def whole(host: Site, manifest: Manifest) -> None:
    """The images and the stack of a bundle are in place, and nothing of an import is left."""
    assert host.names() == {image.reference for image in manifest.images}
    for image in manifest.images:
        assert host.layers(image.reference) == list(image.layers)
    folder = host.state / "stacks/stack"
    assert (folder / ".paddock-bundle").read_text().splitlines()[0] == manifest.id
    assert sorted(path.name for path in folder.parent.iterdir()) == ["stack"]
    assert list((host.state / "imports").iterdir()) == []
    assert host.engine.docker("ps", "--all", "--quiet") == ""


@pytest.mark.fault("kill -9 of the import")
def test_a_kill_at_any_step_costs_one_step(host: Site, tmp_path: Path) -> None:
    def written(number: int) -> tuple[Manifest, Path]:
        """Two images that share a layer; all are new, as containerd keeps the blobs of a broken load."""
        layers = [bundles.layer_tar({"noise": noise(60_000, 10 * number + at)}) for at in range(3)]
        folder = tmp_path / f"bundle-{number}"
        return bundles.write(folder, images={NEW: layers[:2], OTHER: layers[::2]}), folder

    manifest, folder = written(99)
    assert host.cut_short(-1, "import", folder, seen=tmp_path / "all").returncode == 0
    steps = (tmp_path / "all").read_text().split()
    assert set(steps) == {name for _, name in cut_short.STEPS}
    whole(host, manifest)
    loads = steps.count("send")
    assert loads == 3
    first = [step for step in steps if step in ("send", "finish")][:2]
    assert first == (["send", "send"] if host.engine.store == "classic" else ["send", "finish"])
    # what the engine has not finished may be loaded again, and what was sent meanwhile is sent again
    again_at_most = {"send": 1, "finish": 2, "remove_name": 1}
    for number in range(len(steps)):
        host.clear()
        manifest, folder = written(number)
        seen = tmp_path / f"steps-{number}"
        assert host.cut_short(number, "import", folder, seen=seen).returncode == -signal.SIGKILL
        before = seen.read_text().split()[:-1]
        again = host.cut_short(-1, "import", folder, seen=seen)
        assert again.returncode == 0, f"{steps[number]}, step {number}: {again.stderr}"
        whole(host, manifest)
        after = seen.read_text().split()[len(before) + 1 :]
        more = before.count("send") + after.count("send") - loads
        assert 0 <= more <= again_at_most.get(steps[number], 0), f"{steps[number]}, step {number}"


def new_version(layer: bytes) -> bytes:
    return layer.replace(b"page", b"leaf")


CHANGED = {NEW: [bundles.LAYERS[0], new_version(bundles.LAYERS[1])], OTHER: bundles.IMAGES[OTHER]}


def test_a_delta_and_back(host: Site, tmp_path: Path) -> None:
    first = bundles.write(tmp_path / "first")
    second = bundles.write(
        tmp_path / "second",
        images=CHANGED,
        files={"stack/compose.yaml": b"services: {a: {image: b}}\n"},
        on=bundles.LAYERS,
    )
    assert {layer.carried for layer in second.layers} == {Carried.BASE, Carried.RECIPE}
    host.refuses("import", tmp_path / "second", words="needs 3 of 3 base layers")
    assert host.names() == set()
    assert host.paddock("import", tmp_path / "first").returncode == 0
    (host.state / "stacks/stack/compose.override.yaml").write_text("services: {}\n")
    done = host.paddock("import", tmp_path / "second")
    assert done.returncode == 0, done.stderr
    folder = host.state / "stacks/stack"
    assert host.names() == {NEW, OTHER, f"{NEW}-previous"}
    assert host.layers(NEW) == list(second.images[0].layers)
    assert host.layers(f"{NEW}-previous") == list(first.images[0].layers)
    assert (folder / "compose.yaml").read_bytes() == b"services: {a: {image: b}}\n"
    assert (folder / "compose.override.yaml").exists()
    for now, stack in ((first, b"services: {}\n"), (second, b"services: {a: {image: b}}\n")):
        back = host.paddock("rollback")
        assert back.returncode == 0, back.stderr
        assert back.stdout.startswith("undone: " if now is first else "done again: ")
        assert host.layers(NEW) == list(now.images[0].layers)
        assert (folder / "compose.yaml").read_bytes() == stack
    again = host.paddock("import", tmp_path / "second", "--json")
    assert json.loads(again.stdout)["changed"] is False


def test_a_delta_on_a_base_bundle(host: Site, tmp_path: Path) -> None:
    """The engine has nothing of the base; a bundle at hand has."""
    bundles.write(tmp_path / "first")
    raws = {NEW: [new_version(bundles.LAYERS[1])]}
    second = bundles.write(tmp_path / "second", images=raws, on=bundles.LAYERS[:2])
    done = host.paddock("import", tmp_path / "second", "--base", tmp_path / "first")
    assert done.returncode == 0, done.stderr
    assert host.layers(NEW) == list(second.images[0].layers)
