"""What docs/reference/proof.md says is proven, and no more.

That its tables are those that the data gives, tests/generated/test_docs.py checks.
"""

from __future__ import annotations

import re

import pytest

from matrix_tables import registry
from paddock.matrix.records import Platform
from proof_table import NO, Built, Ran, proof_of, results, rows
from repository import REPOSITORY

STACKS = {stack.name: stack for stack in registry().all_stacks()}


def test_every_stack_is_in_the_table_on_each_platform() -> None:
    told = {
        (cells[0].strip("`"), cells[1], cells[2], model, variant)
        for cells in rows(registry())
        for model in cells[3].split(", ")
        for variant in cells[4].split(", ")
        if model
    }
    wanted = {
        (stack.target.name, stack.backend.name, str(platform), stack.model.name, str(stack.variant))
        for stack in STACKS.values()
        for platform in stack.target.platforms
    }
    assert told == wanted


def test_every_refusal_is_in_the_table() -> None:
    refused = [cells for cells in rows(registry()) if cells[5].startswith("refused: ")]
    assert len(refused) == sum(len(target.refuses) for target in registry().targets.values()) > 0


@pytest.mark.parametrize("kind", ["ran", "built"])
def test_what_happened_happened_to_stacks_that_are_there(kind: str) -> None:
    entries: dict[str, tuple[Ran, ...] | tuple[Built, ...]] = {"ran": results().ran, "built": results().built}
    assert entries[kind]
    for entry in entries[kind]:
        assert set(entry.stacks) <= set(STACKS)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry.date)
        for path in re.findall(r"tests/[\w/]+(?:\.py)?", entry.by):
            assert (REPOSITORY / path).exists(), path


def test_nothing_with_a_card_is_said_to_have_run() -> None:
    """Take this test out on the day on which it is no longer true."""
    ran = [STACKS[name] for entry in results().ran for name in entry.stacks]
    assert {stack.target.accelerator for stack in ran} == {"none"}
    for stack in STACKS.values():
        for platform in stack.target.platforms:
            if platform is not Platform.AMD64 or stack.target.accelerator != "none":
                assert proof_of(stack, platform).run == NO
