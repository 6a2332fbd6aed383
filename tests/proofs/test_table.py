"""docs/proof.md says what is proven and no more: its table is the one that the data gives."""

from __future__ import annotations

import re

import pytest

from paddock import paths
from paddock.matrix.load import load_registry
from paddock.matrix.records import Platform
from proof_table import DOCUMENT, NO, in_document, proof_of, results, rows, table
from repository import REPOSITORY

REGISTRY = load_registry(paths.templates())
STACKS = {stack.name: stack for stack in REGISTRY.all_stacks()}


def test_the_table_is_the_one_that_the_data_gives() -> None:
    assert in_document(DOCUMENT.read_text("utf-8")) == table(), "run scripts/maintain/write-tables.py"


def test_every_stack_is_in_the_table_on_each_platform() -> None:
    told = {
        (cells[0].strip("`"), cells[1], cells[2], model, variant)
        for cells in rows(REGISTRY)
        for model in cells[3].split(", ")
        for variant in cells[4].split(", ")
        if model
    }
    wanted = {
        (each.target.name, each.backend.name, str(platform), each.model.name, str(each.variant))
        for each in STACKS.values()
        for platform in each.target.platforms
    }
    assert told == wanted


def test_every_refusal_is_in_the_table() -> None:
    refused = [cells for cells in rows(REGISTRY) if cells[5].startswith("refused: ")]
    assert len(refused) == sum(len(target.refuses) for target in REGISTRY.targets.values()) > 0


@pytest.mark.parametrize("kind", ["ran", "built"])
def test_what_happened_happened_to_stacks_that_are_there(kind: str) -> None:
    entries = results()[kind]
    assert entries
    for entry in entries:
        assert set(entry["stacks"]) <= set(STACKS)
        assert entry["platform"] in list(Platform)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["date"])
        for path in re.findall(r"tests/[\w/]+(?:\.py)?", entry["by"]):
            assert (REPOSITORY / path).exists(), path


def test_nothing_with_a_card_is_said_to_have_run() -> None:
    """Take this test out on the day on which it is no longer true."""
    ran = [STACKS[name] for entry in results()["ran"] for name in entry["stacks"]]
    assert {stack.target.accelerator for stack in ran} == {"none"}
    for stack in STACKS.values():
        for platform in stack.target.platforms:
            if platform is not Platform.AMD64 or stack.target.accelerator != "none":
                assert proof_of(stack, platform, results()).run == NO
