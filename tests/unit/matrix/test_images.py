"""What the images of a stack are called and what they hold."""

from __future__ import annotations

from paddock import __version__, paths
from paddock.matrix.images import TOOL, published_images, stack_images
from paddock.matrix.load import load_registry, load_shared_images
from paddock.matrix.records import Platform, Variant

TEMPLATES = paths.templates()
REGISTRY = load_registry(TEMPLATES)


def test_the_images_of_a_stack() -> None:
    api, vlm = stack_images(REGISTRY.stack(target="cpu", backend="llama.cpp"))
    assert (api.role, api.target, api.context) == ("api", "cpu-llama-cpp-api", "images/cpu/api")
    assert (vlm.role, vlm.target, vlm.context) == ("vlm", "cpu-llama-cpp-vlm", "images/cpu/llama.cpp")
    assert api.reference() == f"paddock/cpu-api:{__version__}"
    assert vlm.reference(prefix="harbor.example/ocr/", version="2") == "harbor.example/ocr/cpu-llama.cpp:2"


def test_an_offline_image_is_called_after_the_weights_that_it_holds() -> None:
    api, vlm = stack_images(REGISTRY.stack(target="cpu", variant=Variant.OFFLINE))
    assert api.reference() == f"paddock/cpu-api:{__version__}-paddleocr-vl-1.6-offline"
    assert [weights.name for weights in vlm.weights] == ["PaddleOCR-VL-1.6"]
    assert [weights.role for weights in api.further_weights] == ["orientation", "unwarping"]
    assert vlm.further_weights == ()


def test_a_model_without_a_pipeline_has_one_image() -> None:
    (vlm,) = stack_images(REGISTRY.stack(target="cu126-8x80g"))
    assert vlm.name == "cu126-8x80g-fastdeploy"


def test_a_trial_build_can_take_another_package_than_the_vendor_s() -> None:
    api, vlm = stack_images(REGISTRY.stack(target="cu126"))
    assert (api.stand_in, vlm.stand_in) == ("paddlepaddle==3.2.1", "")


def test_an_image_is_published_once_and_without_weights() -> None:
    published = published_images(REGISTRY.stacks(), load_shared_images(TEMPLATES))
    names = [image.name for image in published]
    assert names == sorted(set(names))
    assert {TOOL.name, "door"} <= set(names)
    (api,) = (image for image in published if image.name == "cpu-api")
    assert api.target == "cpu-api"
    assert api.platforms == (Platform.AMD64, Platform.ARM64)
    assert not any("offline" in image.target for image in published)
