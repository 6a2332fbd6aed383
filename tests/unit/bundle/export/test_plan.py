"""What an export will write: near enough to what it then writes, and refused where there is no room."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from layer_files import LayerFiles, noise, text
from paddock.bundle.export.contents import CarriedFile, Contents, SourceImage
from paddock.bundle.export.plan import ExportPlan, PlannedLayer, plan_export, require_room, warn_of_room
from paddock.bundle.format.manifest import Carried
from paddock.bundle.layers.framewriter import compress_frame
from paddock.errors import PreflightError
from recording import Recorder
from small_images import tar


@pytest.fixture
def source(tmp_path: Path) -> LayerFiles:
    return LayerFiles(tmp_path / "layers")


def test_estimates_and_who_has_a_layer(source: LayerFiles) -> None:
    raws = [tar({"weights": noise(9 << 20), "lib": text(12 << 20)}), tar({"a": b"small"})]
    mixed, small = map(source.add, raws)
    images = tuple(
        SourceImage(reference=name, platform="linux/amd64", config=b"{}", layers=layers)
        for name, layers in (("one:1", (mixed,)), ("two:2", (mixed, small)))
    )
    files = (CarriedFile(path="a", data=b"12345"),)
    contents = Contents(platform="linux/amd64", stack=None, images=images, files=files)
    planned = plan_export(contents, source)
    assert [(layer.diff_id, layer.images, layer.carried) for layer in planned.layers] == [
        (mixed, ("one:1", "two:2"), Carried.WHOLE),
        (small, ("two:2",), Carried.WHOLE),
    ]
    assert [layer.raw_size for layer in planned.layers] == list(map(len, raws))
    assert planned.layers[0].size == pytest.approx(len(compress_frame(raws[0])), rel=0.1)
    assert planned.size == sum(layer.size for layer in planned.layers) + 5
    rest = plan_export(contents, source, done={mixed})
    assert [layer.diff_id for layer in rest.layers] == [small]


def needing(size: int) -> ExportPlan:
    layer = PlannedLayer(diff_id="sha256:1", images=(), raw_size=size, size=size, carried=Carried.WHOLE)
    return ExportPlan(layers=(layer,), files=0)


def test_room(tmp_path: Path) -> None:
    require_room(needing(1), tmp_path / "not/yet/there")
    words = r"bytes free, expected \d[0-9,]+ for a bundle of about 1,152,921,504,606,846,976 bytes"
    with pytest.raises(PreflightError, match=words):
        require_room(needing(1 << 60), tmp_path / "not/yet/there")


@pytest.mark.parametrize(("free", "enough"), [(85, True), (84, False)])
def test_an_estimate_may_be_too_high(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, *, enough: bool
) -> None:
    monkeypatch.setattr("paddock.durable.free_bytes", lambda _: free)
    with (
        nullcontext()
        if enough
        else pytest.raises(PreflightError, match="expected 85 for a bundle of about 100")
    ):
        require_room(needing(100), tmp_path)


def test_room_for_what_a_delta_may_take(tmp_path: Path, report: Recorder) -> None:
    warn_of_room(needing(1), tmp_path, report)
    assert report.lines == []
    warn_of_room(needing(1 << 60), tmp_path / "not/yet/there", report)
    (warning,) = report.warned
    assert "takes up to 2,305,843,009,213,693,952" in warning
