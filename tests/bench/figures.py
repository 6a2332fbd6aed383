"""What a benchmark found: figures with their goals, printed as a table and kept as JSON and Markdown.

A missed goal is a finding, not a failure: it is printed and written. A benchmark fails only when it could not
measure.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Bound = Literal["at least", "at most", "under"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A limit for a figure's verdict value."""

    bound: Bound
    limit: float

    def met(self, value: float) -> bool:
        match self.bound:
            case "at least":
                return value >= self.limit
            case "at most":
                return value <= self.limit
            case "under":
                return value < self.limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One line of the table.

    `ours` and `theirs` are every sample in `unit`, in the order measured; the table shows their medians.
    `value` is what the goal is about: a ratio, or our median itself where there is nothing to compare with.
    """

    name: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    value: float
    value_unit: str = "times"
    goal: Goal | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.ours:
            raise ValueError(f"{self.name}: nothing was measured")

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return "-"
        return "met" if self.goal.met(self.value) else "MISSED"


@dataclass(kw_only=True, slots=True)
class Book:
    """All figures of a run and the circumstances of it; written again after each figure."""

    folder: Path
    circumstances: Mapping[str, str]
    peer: str = "upstream's way"  # what `theirs` is, as the table's head
    figures: list[Figure] = field(default_factory=list)

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / "bench.json", self._json())
        _write(self.folder / "bench.md", self._markdown())

    def table(self) -> list[str]:
        """The table in plain text, one line a figure."""
        rows = [self._head(), *(_row(figure) for figure in self.figures)]
        widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        return [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]

    def _head(self) -> list[str]:
        return ["measured", "unit", "ours", self.peer, "result", "goal", "verdict"]

    def _json(self) -> str:
        figures = [
            {**dataclasses.asdict(figure), "goal_met": figure.goal and figure.goal.met(figure.value)}
            for figure in self.figures
        ]
        return json.dumps({"circumstances": dict(self.circumstances), "figures": figures}, indent=2) + "\n"

    def _markdown(self) -> str:
        head = self._head()
        lines = [
            _line(head),
            _line(["---"] * len(head)),
            *(_line(_row(figure)) for figure in self.figures),
            "",
        ]
        lines += [f"- {figure.name}: {figure.note}" for figure in self.figures if figure.note]
        lines += ["", *(f"- {name}: {value}" for name, value in self.circumstances.items())]
        return "\n".join(lines) + "\n"


def _row(figure: Figure) -> list[str]:
    goal = figure.goal
    return [
        figure.name,
        figure.unit,
        f"{statistics.median(figure.ours):.2f}",
        f"{statistics.median(figure.theirs):.2f}" if figure.theirs else "-",
        f"{figure.value:.2f} {figure.value_unit}",
        f"{goal.bound} {goal.limit:g}" if goal else "-",
        figure.verdict,
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
