"""The table of docs/proof.md: for every stack on every platform, what proves it. Made from data, never typed.

A row stands for all models and variants of a target, backend and platform with the same proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evidence import DATA, read_options, server_of
from paddock import paths
from paddock.matrix.load import load_registry
from paddock.matrix.records import Platform, Stack, Target, Variant
from paddock.matrix.registry import Registry

DOCUMENT = Path(__file__).parents[2] / "docs" / "proof.md"
BEGIN, END = "<!-- table: proof -->\n", "<!-- end -->\n"
HEADINGS = ("target", "backend", "platform", "models", "variants", "run", "options", "pipeline", "images")
NO = "no"


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What proves one stack on one platform, in the words of the table."""

    run: str
    options: str
    pipeline: str
    images: str


def results() -> Mapping[str, Any]:
    """What happened."""
    read: dict[str, Any] = yaml.safe_load((DATA / "results.yaml").read_text("utf-8"))
    return read


def proof_of(stack: Stack, platform: Platform, happened: Mapping[str, Any]) -> Proof:
    """What proves this stack on this platform."""
    return Proof(
        run=_run(stack, platform, happened),
        options=_options(stack, platform),
        pipeline=_pipeline(stack, platform, happened),
        images=_images(stack, platform, happened),
    )


def _run(stack: Stack, platform: Platform, happened: Mapping[str, Any]) -> str:
    for entry in happened["ran"]:
        if stack.name in entry["stacks"] and platform == entry["platform"]:
            return f"{entry['weights']}, {entry['date']}"
    return NO


def _options(stack: Stack, platform: Platform) -> str:
    server = server_of(stack, platform)
    recorded = read_options(server.table)
    if not recorded.parser:
        return f"documents of {server.package} {server.version}"
    return f"parser of {server.package} {server.version}" if stack.name in recorded.accepted else NO


def _pipeline(stack: Stack, platform: Platform, happened: Mapping[str, Any]) -> str:
    if stack.model.pipeline is None or stack.target.api is None:
        return "has none"
    version = stack.target.api.image.pins_on(platform)["paddlex"]
    return f"PaddleX {version}" if version in {entry["paddlex"] for entry in happened["loaded"]} else NO


def _images(stack: Stack, platform: Platform, happened: Mapping[str, Any]) -> str:
    """An online image serves any model; an offline one holds its own."""
    for entry in happened["built"]:
        names = entry["stacks"]
        same = stack.name in names or (stack.variant is Variant.ONLINE and _default_model(stack) in names)
        if same and platform == entry["platform"]:
            return str(entry["kind"])
    return NO


def _default_model(stack: Stack) -> str:
    return stack.name.replace(f"-{stack.model.name}", "")


def rows(data: Registry) -> Iterator[tuple[str, ...]]:
    """All rows, targets in their order, what is refused after what is offered."""
    happened = results()
    stacks = list(data.all_stacks())
    for target in data.targets.values():
        for backend in target.backends:
            for platform in target.platforms:
                mine = [
                    each for each in stacks if (each.target.name, each.backend.name) == (target.name, backend)
                ]
                yield from _rows_of(target, backend, platform, mine, happened)
        for backend, reason in target.refuses.items():
            yield (
                f"`{target.name}`",
                backend,
                "",
                "",
                "",
                f"refused: {' '.join(reason.split())}",
                "",
                "",
                "",
            )


def _rows_of(
    target: Target, backend: str, platform: Platform, stacks: list[Stack], happened: Mapping[str, Any]
) -> Iterator[tuple[str, ...]]:
    variants: dict[tuple[str, Proof], list[str]] = {}
    for stack in stacks:
        variants.setdefault((stack.model.name, proof_of(stack, platform, happened)), []).append(stack.variant)
    models: dict[tuple[tuple[str, ...], Proof], list[str]] = {}
    for (model, proof), found in variants.items():
        models.setdefault((tuple(found), proof), []).append(model)
    for (found_variants, proof), names in models.items():
        yield (
            *(f"`{target.name}`", backend, platform, ", ".join(names), ", ".join(found_variants)),
            *(proof.run, proof.options, proof.pipeline, proof.images),
        )


def table() -> str:
    """The lines between the two marks of the document."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *rows(load_registry(paths.templates()))]
    return "".join(
        f"| {' | '.join(cells)} |\n".replace("|  |", "| |").replace("|  |", "| |") for cells in lines
    )


def in_document(text: str) -> str:
    """The table that a document holds."""
    return text.partition(BEGIN)[2].partition(END)[0]


def with_table(text: str) -> str:
    """The document with the table of today."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"
