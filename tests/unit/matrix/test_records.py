"""What a stack knows of itself: its servers, their images and files, and its name."""

from __future__ import annotations

import pytest

from paddock import paths
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.load import load_registry
from paddock.matrix.records import (
    Accelerator,
    AscendCards,
    Base,
    ContextFiles,
    Image,
    NvidiaCards,
    ServerRole,
    WeightsRole,
)

REGISTRY = load_registry(paths.templates())


def test_every_possible_stack_has_a_name_of_its_own() -> None:
    stacks = list(REGISTRY.all_stacks())
    assert len({stack.name for stack in stacks}) == len(stacks) > 8


def test_the_servers_of_a_stack_with_a_pipeline() -> None:
    stack = REGISTRY.stack(target="cpu", backend="llama.cpp")
    assert stack.api is not None and stack.api is stack.target.api
    api, vlm = stack.parts
    assert (api.role, api.program, api.template) == (ServerRole.API, "api", "api")
    assert (vlm.role, vlm.program, vlm.template) == (ServerRole.VLM, "llama.cpp", "llama.cpp")
    assert (api.image, vlm.image) == (stack.api.image, stack.vlm.image)
    assert (api.weights_role, vlm.weights_role) == (WeightsRole.LAYOUT, WeightsRole.GGUF)


def test_a_model_without_a_pipeline_is_served_alone() -> None:
    stack = REGISTRY.stack(target="cu126-8x80g")
    assert stack.api is None
    (vlm,) = stack.parts
    assert (vlm.role, vlm.program, vlm.image) == (ServerRole.VLM, "fastdeploy", stack.vlm.image)


def test_each_server_gets_its_own_devices() -> None:
    api, vlm = REGISTRY.stack(target="ascend-910b").parts
    assert "/dev/davinci${API_NPU_DEVICE}" in api.devices.nodes
    assert "/dev/davinci${NPU_DEVICE}" in vlm.devices.nodes
    layout_on_cpu, _ = REGISTRY.stack(target="ascend-910b-layout-cpu").parts
    assert layout_on_cpu.devices.nodes == ()


def test_the_images_of_a_target() -> None:
    assert list(REGISTRY.target("cpu").images) == ["api", "vllm", "llama.cpp"]
    assert list(REGISTRY.target("cu126-8x80g").images) == ["fastdeploy"]


def test_the_cards_say_which_accelerator_a_target_has() -> None:
    cards = {name: target.cards for name, target in REGISTRY.targets.items()}
    assert cards["cpu"] is None and REGISTRY.target("cpu").accelerator is Accelerator.NONE
    assert isinstance(cards["cu126"], NvidiaCards)
    assert REGISTRY.target("cu126").accelerator is Accelerator.NVIDIA
    assert isinstance(cards["ascend-310p"], AscendCards) and cards["ascend-310p"].chip == "310P"
    assert REGISTRY.target("ascend-310p").accelerator is Accelerator.ASCEND


@pytest.mark.parametrize(
    ("target", "backend", "capability"),
    [
        ("cpu", None, ""),
        ("ascend-910b", None, ""),
        ("cu126", "vllm", ">=8.0,<10.0"),
        ("cu126", "sglang", ">=8.0,<10.0,<12.0"),
    ],
)
def test_target_and_server_both_limit_the_cards(target: str, backend: str | None, capability: str) -> None:
    assert REGISTRY.stack(target=target, backend=backend).compute_capability == capability


FILES = ContextFiles(
    always=("shared/a.sh",),
    with_package=FrozenDict({"cann": ("shared/b.sh",), "torch": ("own/c.py", "own/d.py")}),
    on_device=FrozenDict({"cpu": ("shared/e.sh",)}),
)


@pytest.mark.parametrize(
    ("provides", "pins", "device", "expected"),
    [
        ({}, {}, None, ["shared/a.sh"]),
        ({"cann": "9.1.0"}, {}, "npu", ["shared/a.sh", "shared/b.sh"]),
        ({}, {"torch": "2.13.0"}, None, ["shared/a.sh", "own/c.py", "own/d.py"]),
        ({}, {"other": "1"}, "cpu", ["shared/a.sh", "shared/e.sh"]),
    ],
)
def test_a_build_context_gets_the_files_whose_condition_is_met(
    provides: dict[str, str], pins: dict[str, str], device: str | None, expected: list[str]
) -> None:
    base = Base(image="debian:bookworm-slim", provides=FrozenDict(provides))
    image = Image(base=base, python="3.11", pins=FrozenDict(pins))
    assert list(FILES.of(image, device)) == expected
