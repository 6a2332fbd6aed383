"""What an export will write: near enough to what it then writes, and refused where there is no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer_files import LayerFiles, noise, text
from paddock import console
from paddock.bundle.export.contents import CarriedFile, Contents, SourceImage
from paddock.bundle.export.plan import Plan, PlannedLayer, plan, require_room, warn_of_room
from paddock.bundle.format.manifest import Carried
from paddock.bundle.layers.framewriter import compress_frame
from paddock.errors import PreflightError
from small_images import tar


@pytest.fixture
def source(tmp_path: Path) -> LayerFiles:
    return LayerFiles(tmp_path / "layers")


def test_estimates_and_who_has_a_layer(source: LayerFiles) -> None:
    raws = [tar({"weights": noise(9 << 20), "lib": text(12 << 20)}), tar({"a": b"small"})]
    mixed, small = (source.add(each) for each in raws)
    images = tuple(
        SourceImage(reference=name, platform="linux/amd64", config=b"{}", layers=layers)
        for name, layers in (("one:1", (mixed,)), ("two:2", (mixed, small)))
    )
    files = (CarriedFile(path="a", data=b"12345"),)
    contents = Contents(platform="linux/amd64", stack=None, images=images, files=files)
    planned = plan(contents, source)
    assert [(each.diff_id, each.images, each.carried) for each in planned.layers] == [
        (mixed, ("one:1", "two:2"), Carried.WHOLE),
        (small, ("two:2",), Carried.WHOLE),
    ]
    assert [each.raw_size for each in planned.layers] == [len(each) for each in raws]
    assert planned.layers[0].size == pytest.approx(len(compress_frame(raws[0])), rel=0.1)
    assert planned.size == sum(each.size for each in planned.layers) + 5
    assert [each.diff_id for each in plan(contents, source, done={mixed}).layers] == [small]


def needing(size: int) -> Plan:
    layer = PlannedLayer(diff_id="sha256:1", images=(), raw_size=size, size=size, carried=Carried.WHOLE)
    return Plan(layers=(layer,), files=0)


def test_room(tmp_path: Path) -> None:
    require_room(needing(1), tmp_path / "not/yet/there")
    with pytest.raises(PreflightError, match="free bytes, expected about 1,152,921,504,606,846,976"):
        require_room(needing(1 << 60), tmp_path / "not/yet/there")


def test_room_for_what_a_delta_may_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_room(needing(1), tmp_path, console.TerminalReporter())
    assert capsys.readouterr().err == ""
    warn_of_room(needing(1 << 60), tmp_path / "not/yet/there", console.TerminalReporter())
    said = capsys.readouterr().err
    assert "warning: " in said
    assert "takes up to 2,305,843,009,213,693,952" in said
