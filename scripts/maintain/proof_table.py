"""The tables of docs/reference/proof.md and of the READMEs that say what has run where, made from data.

tests/proofs/data/results.yaml holds what happened. Everything else follows from the registry and from the
command lines that are recorded beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from blocks import table
from descriptions import in_chinese
from evidence import DATA, read_options, server_of
from matrix_tables import registry
from paddock.matrix import strictyaml
from paddock.matrix.records import Platform, Stack, Target, Variant
from paddock.matrix.registry import Registry

HEADINGS = ("target", "backend", "platform", "models", "variants", "run", "options", "pipeline", "images")
NO = "no"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """Stacks that were started, parsed a page and were stopped."""

    stacks: tuple[str, ...]
    platform: Platform
    weights: str
    date: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedPipelines:
    """A version of PaddleX whose own loading took every pipeline.yaml."""

    paddlex: str
    date: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """Stacks whose images were built to the end, and started."""

    kind: str
    stacks: tuple[str, ...]
    platform: Platform
    date: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What happened."""

    ran: tuple[Ran, ...]
    loaded: tuple[LoadedPipelines, ...]
    built: tuple[Built, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What proves one stack on one platform, in the words of the table."""

    run: str
    options: str
    pipeline: str
    images: str


@cache
def results() -> Results:
    """What happened, read once. Raises DataError at the first thing that is wrong."""
    return strictyaml.read(DATA / "results.yaml", Results).record


def proof_of(stack: Stack, platform: Platform) -> Proof:
    """What proves this stack on this platform."""
    return Proof(
        run=_run(stack, platform),
        options=_options(stack, platform),
        pipeline=_pipeline(stack, platform),
        images=_images(stack, platform),
    )


def _run(stack: Stack, platform: Platform) -> str:
    for entry in results().ran:
        if stack.name in entry.stacks and platform == entry.platform:
            return f"{entry.weights}, {entry.date}"
    return NO


def _options(stack: Stack, platform: Platform) -> str:
    server = server_of(stack, platform)
    recorded = read_options(server.table)
    if not recorded.parser:
        return f"documents of {server.package} {server.version}"
    return f"parser of {server.package} {server.version}" if stack.name in recorded.accepted else NO


def _pipeline(stack: Stack, platform: Platform) -> str:
    if stack.api is None:
        return "has none"
    version = stack.api.image.pins_on(platform)["paddlex"]
    return f"PaddleX {version}" if version in {entry.paddlex for entry in results().loaded} else NO


def _images(stack: Stack, platform: Platform) -> str:
    """An online image serves any model; an offline one holds its own."""
    for entry in results().built:
        same = stack.name in entry.stacks
        if stack.variant is Variant.ONLINE:
            same = same or _with_default_model(stack) in entry.stacks
        if same and platform == entry.platform:
            return entry.kind
    return NO


def _with_default_model(stack: Stack) -> str:
    return stack.name.replace(f"-{stack.model.name}", "")


# --- every stack on every platform --------------------------------------------------------------------------


def proof() -> str:
    """The table of everything that is offered, and of what is refused."""
    return table(HEADINGS, rows(registry()))


def rows(data: Registry) -> Iterator[tuple[str, ...]]:
    """All rows, targets in their order, what is refused after what is offered.

    A row stands for all models and variants of a target, backend and platform with the same proof.
    """
    stacks = list(data.all_stacks())
    for target in data.targets.values():
        for backend in target.backends:
            served = [
                stack for stack in stacks if (stack.target.name, stack.backend.name) == (target.name, backend)
            ]
            for platform in target.platforms:
                yield from _rows_of(target, backend, platform, served)
        for backend, reason in target.refuses.items():
            refusal = f"refused: {' '.join(reason.split())}"
            yield (f"`{target.name}`", backend, "", "", "", refusal, "", "", "")


def _rows_of(
    target: Target, backend: str, platform: Platform, stacks: list[Stack]
) -> Iterator[tuple[str, ...]]:
    variants: dict[tuple[str, Proof], list[str]] = {}
    for stack in stacks:
        variants.setdefault((stack.model.name, proof_of(stack, platform)), []).append(stack.variant)
    models: dict[tuple[tuple[str, ...], Proof], list[str]] = {}
    for (model, proven), proven_variants in variants.items():
        models.setdefault((tuple(proven_variants), proven), []).append(model)
    for (alike, proven), names in models.items():
        yield (
            *(f"`{target.name}`", backend, platform, ", ".join(names), ", ".join(alike)),
            *(proven.run, proven.options, proven.pipeline, proven.images),
        )


# --- in short -----------------------------------------------------------------------------------------------


def runs() -> str:
    """Each target on each platform: what ran there, and how its images were built."""
    return table(("target", "platform", "has run with", "images were built"), _runs())


def runs_in_chinese() -> str:
    """The same in Chinese."""
    chinese = (
        (target, platform, "；".join(map(in_chinese, weights.split("; "))), in_chinese(images))
        for target, platform, weights, images in _runs()
    )
    return table(("目标（target）", "平台", "运行时用的权重", "镜像的构建方式"), chinese)


def _runs() -> Iterator[tuple[str, str, str, str]]:
    for target in registry().targets.values():
        stacks = {stack.name for stack in registry().all_stacks() if stack.target == target}
        for platform in target.platforms:
            weights = _unique(
                entry.weights
                for entry in results().ran
                if entry.platform == platform and stacks & set(entry.stacks)
            )
            kinds = _unique(
                entry.kind
                for entry in results().built
                if entry.platform == platform and stacks & set(entry.stacks)
            )
            yield f"`{target.name}`", platform, "; ".join(weights) or NO, "; ".join(kinds) or NO


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def happenings() -> str:
    """Each entry of results.yaml: what happened, where, when, and who saw it."""
    return table(("what", "platform", "date", "by", "stacks"), _happenings())


def _happenings() -> Iterator[tuple[str, ...]]:
    for run in results().ran:
        yield f"ran with {run.weights}", run.platform, run.date, run.by, _listed(run.stacks)
    for loaded in results().loaded:
        yield f"PaddleX {loaded.paddlex} loaded every `pipeline.yaml`", "", loaded.date, loaded.by, "all"
    for built in results().built:
        yield f"images built: {built.kind}", built.platform, built.date, built.by, _listed(built.stacks)


def _listed(stacks: Iterable[str]) -> str:
    return ", ".join(f"`{stack}`" for stack in stacks)
