"""Every table of the documents that is made from code or data, and the documents that hold one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import blocks
import corpus_table
from code_tables import diagnoses, exit_codes, exit_codes_in_chinese, messages, rooms
from fault_table import faults
from matrix_tables import models, support, support_in_chinese
from paddock.errors import ConfigurationError
from proof_table import happenings, proof, runs, runs_in_chinese
from variable_tables import example, same_variables, tool_variables, variables

REPOSITORY = Path(__file__).parents[2]
Tables = Mapping[str, Callable[[], str]]

ENGLISH: Tables = {
    "rooms": rooms,
    "support": support,
    "runs": runs,
    "exit codes": exit_codes,
    "models": models,
    "diagnosis": diagnoses,
    "messages": messages,
    "variables both": partial(variables, "both"),
    "variables build": partial(variables, "build"),
    "variables same": same_variables,
    "variables stack": partial(variables, "stack"),
    "variables tool": tool_variables,
    "faults": faults,
    "proof": proof,
    "happenings": happenings,
    "corpus": corpus_table.corpus,
    "corpus conditions": corpus_table.conditions,
    "corpus causes": corpus_table.causes,
    "corpus findings": corpus_table.findings,
    "corpus packages": corpus_table.packages,
}
CHINESE: Tables = {
    "support": support_in_chinese,
    "runs": runs_in_chinese,
    "exit codes": exit_codes_in_chinese,
}
EXAMPLE: Tables = {
    "variables both": partial(example, "both"),
    "variables build": partial(example, "build"),
    "variables stack": partial(example, "stack"),
}


def documents(root: Path) -> Mapping[Path, Tables]:
    """Every file that may hold tables, with the tables that it may hold."""
    return {
        root / "README.md": ENGLISH,
        root / "README.zh-CN.md": CHINESE,
        root / ".env.example": EXAMPLE,
        **dict.fromkeys(sorted((root / "docs").rglob("*.md")), ENGLISH),
    }


def out_of_date(root: Path = REPOSITORY) -> Mapping[Path, str]:
    """Documents that differ from what the code and the data give now, each with its text of now.

    Raises ConfigurationError for a block without a table, a table without a block, and one that has no truth.
    """
    texts = {path: path.read_text("utf-8") for path in documents(root)}
    for tables in (ENGLISH, CHINESE, EXAMPLE):
        _require_blocks({path: texts[path] for path, own in documents(root).items() if own is tables}, tables)
    fresh = {path: blocks.replaced(texts[path], tables) for path, tables in documents(root).items()}
    return {path: text for path, text in fresh.items() if text != texts[path]}


def _require_blocks(texts: Mapping[Path, str], tables: Tables) -> None:
    held: set[str] = set()
    for path, text in texts.items():
        unknown = sorted(set(blocks.names(text)) - set(tables))
        if unknown:
            raise ConfigurationError(f"{path}: found tables {unknown}, expected some of {sorted(tables)}")
        held.update(blocks.names(text))
    if held != set(tables):
        raise ConfigurationError(f"documents: found no block for {sorted(set(tables) - held)}, expected one")
