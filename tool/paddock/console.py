"""The terminal: results on stdout, everything else on stderr, colour and bars only where a person looks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from paddock.errors import PaddockError
from paddock.report import Advance, Unit

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar


def _label(text: str, colour: str) -> str:
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return click.style(text, fg=colour, bold=True)


def result(text: str) -> None:
    """Print one result line to stdout."""
    click.echo(text)


def result_json(value: object) -> None:
    """Print `value` as JSON for a machine to read; keys keep their order."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns to stdout."""
    widths = [max(len(line[i]) for line in [headings, *rows]) for i in range(len(headings))]
    for line in [headings, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"


def duration(seconds: float | None) -> str:
    """A time by its two largest units: 45s, 3m 20s, 5h 2m, 4d 1h; `-` where it is not known."""
    if seconds is None:
        return "-"
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, length)
        if amount or parts or unit == "s":
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def error(failure: PaddockError) -> None:
    """Print an expected failure and its hint to stderr."""
    click.echo(f"{_label('error:', 'red')} {failure.message}", err=True)
    if failure.hint:
        click.echo(f"{_label('hint:', 'cyan')} {failure.hint}", err=True)


class TerminalReporter:
    """The `Reporter` of the command line."""

    def say(self, message: str, /) -> None:
        click.echo(message, err=True)

    def warn(self, message: str, /) -> None:
        click.echo(f"{_label('warning:', 'yellow')} {message}", err=True)

    @contextmanager
    def progress(self, label: str, *, total: int | None, unit: Unit, done: int = 0) -> Iterator[Advance]:
        """Draw a bar on a terminal; elsewhere print the label once, so that logs stay readable."""
        if not sys.stderr.isatty():
            self.say(f"{label} ...")
            yield lambda _amount: None
            return
        bar: ProgressBar[int]
        with click.progressbar(
            length=total or 0, label=label, file=sys.stderr, show_pos=unit != "bytes"
        ) as bar:
            if done:
                bar.update(done)
            yield bar.update
