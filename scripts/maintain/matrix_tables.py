"""Tables that the registry gives: which targets, backends and models there are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from blocks import code, table
from descriptions import in_chinese
from paddock import paths
from paddock.matrix.load import load_registry
from paddock.matrix.records import Target
from paddock.matrix.registry import Registry


@cache
def registry() -> Registry:
    """The data of this checkout, read once."""
    return load_registry(paths.templates())


def support() -> str:
    """The table of both READMEs: every target with its platforms, backends and models."""
    headings = ("target", "hardware", "platforms", "backends", "models")
    return table(headings, ((name, target.description, *rest) for target, name, *rest in _supported()))


def support_in_chinese() -> str:
    """The same in Chinese."""
    headings = ("目标（target）", "硬件", "平台", "后端（backend）", "模型")
    return table(
        headings,
        (
            (name, in_chinese(target.description), *map(_chinese_list, rest))
            for target, name, *rest in _supported()
        ),
    )


def _supported() -> Iterator[tuple[Target, str, str, str, str]]:
    for target in registry().targets.values():
        models = {stack.model.name for stack in registry().all_stacks() if stack.target == target}
        yield (
            target,
            f"`{target.name}`",
            ", ".join(target.platforms),
            code(target.backends, default=target.default_backend),
            code(sorted(models), default=target.default_model),
        )


def _chinese_list(words: str) -> str:
    return words.replace(" (default)", "（默认）").replace(", ", "、")


def models() -> str:
    """What each model needs and what its server calls it."""
    rows = (
        (
            f"`{model.name}`",
            f"`{model.pipeline.layout_model}`" if model.pipeline else "",
            f"`{model.served_name}`",
        )
        for _, model in sorted(registry().models.items())
    )
    return table(("model", "layout model", "name that the VLM server answers to"), rows)
