"""The weights that an offline image is to hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock import paths
from paddock.building.offline import has_preprocessor, require_weights
from paddock.errors import WeightsError
from paddock.matrix.images import stack_images
from paddock.matrix.load import load_registry
from paddock.matrix.records import Stack, Variant
from recording import Recorder


def offline(target: str, backend: str | None = None) -> Stack:
    return load_registry(paths.templates()).stack(target=target, backend=backend, variant=Variant.OFFLINE)


def test_images_of_a_stack_name_target_program_version_and_model() -> None:
    assert [image.reference(prefix="p/", version="1") for image in stack_images(offline("cpu"))] == [
        "p/cpu-api:1-paddleocr-vl-1.6-offline",
        "p/cpu-vllm:1-paddleocr-vl-1.6-offline",
    ]


def test_every_weight_set_of_an_offline_image_is_wanted(tmp_path: Path) -> None:
    stack = offline("cpu")
    (tmp_path / "PP-DocLayoutV3").mkdir()
    with pytest.raises(WeightsError, match=r"found no PaddleOCR-VL-1\.6, expected") as raised:
        require_weights(stack, tmp_path)
    assert "`paddock models fetch paddleocr-vl-1.6` brings them" in raised.value.hint
    (tmp_path / "PaddleOCR-VL-1.6").mkdir()
    require_weights(stack, tmp_path)
    with pytest.raises(WeightsError) as raised:
        require_weights(offline("cpu", backend="llama.cpp"), tmp_path)
    assert "fetch paddleocr-vl-1.6 --backend llama.cpp`" in raised.value.hint


def test_an_offline_api_holds_the_preprocessors_weights_when_both_are_there(
    tmp_path: Path, report: Recorder
) -> None:
    api, vlm = images = stack_images(offline("cpu"))
    assert [weights.name for weights in api.weights] == ["PP-DocLayoutV3"]
    assert [weights.name for weights in api.further_weights] == ["PP-LCNet_x1_0_doc_ori", "UVDoc"]
    assert vlm.further_weights == ()
    (tmp_path / "UVDoc").mkdir()
    assert not has_preprocessor(images, tmp_path, report)
    (warning,) = report.warned
    assert "found no PP-LCNet_x1_0_doc_ori:" in warning
    (tmp_path / "PP-LCNet_x1_0_doc_ori").mkdir()
    assert has_preprocessor(images, tmp_path, report)
    assert len(report.warned) == 1
