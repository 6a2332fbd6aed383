"""Choosing the profile of a card, and reading the profiles strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import ConfigurationError, DataError, UsageError
from paddock.matrix.records import Accelerator
from paddock.tuning import profiles
from tunings import CARDS, REGISTRY


@pytest.mark.parametrize(
    ("memory", "card"), [(8, "nvidia-8gb"), (11, "nvidia-8gb"), (12, "nvidia-12gb"), (141, "nvidia-80gb")]
)
def test_the_class_of_a_memory(memory: float, card: str) -> None:
    assert profiles.choose(CARDS, REGISTRY.target("cu126"), memory=memory).name == card


def test_a_card_that_is_too_small_for_every_class() -> None:
    with pytest.raises(ConfigurationError, match="found 6 GB, expected at least 8"):
        profiles.choose(CARDS, REGISTRY.target("cu126"), memory=6)


def test_no_card_or_an_unknown_one() -> None:
    with pytest.raises(UsageError, match="found no card, expected --vram or --card"):
        profiles.choose(CARDS, REGISTRY.target("cu126"))
    with pytest.raises(UsageError, match='unknown card "rtx-409": did you mean "rtx-4090"'):
        profiles.choose(CARDS, REGISTRY.target("cu126"), card="rtx-409")


def test_targets_with_one_kind_of_card_need_no_name() -> None:
    for target in REGISTRY.targets.values():
        if target.accelerator is not Accelerator.NVIDIA:
            assert profiles.choose(CARDS, target).accelerator is target.accelerator


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("memroy: 8", "memroy"),
        ("default_for: [nothing]", 'default_for: found "nothing", expected one of'),
        ("compute_capability: new", 'found "new", expected a version'),
        ("settings: {other: {}}", 'settings: found "other", expected one of'),
        ("settings: {vllm: {dtype: {value: 1, origin: x}}}", 'settings.vllm: found "dtype", expected one of'),
    ],
)
def test_profiles_are_read_strictly(tmp_path: Path, line: str, message: str) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    text = "description: x\naccelerator: nvidia\nmemory: 8\nbatch: {value: 1, origin: x}\n"
    (folder / "small.yaml").write_text(f"{text}{line}\n")
    with pytest.raises(DataError, match=message):
        profiles.load(tmp_path, REGISTRY)


def test_no_profiles_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="found no data"):
        profiles.load(tmp_path, REGISTRY)
