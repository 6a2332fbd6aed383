"""The terminal: results on stdout, everything else on stderr, colour and bars only where a person looks.

Everything that paddock prints passes here, and what came from outside (names of files, words of servers,
lines of logs) reaches the terminal as `printable` shows it. Colours of ours are put around it afterwards.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import click

from paddock.errors import PaddockError, ReaderGoneError, refusal
from paddock.report import Advance, Unit

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar


# Line breaks, tabs, and the joiners inside emoji and Persian or Indic words: without them such text is wrong.
_KEPT = frozenset("\n\t\u200c\u200d")
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, formats (bidi), surrogates, separators


def printable(text: str) -> str:
    """The text with everything visible that a terminal would obey: controls, escapes, changes of direction.

    ESC becomes `\\x1b`, U+202E `\\u202e`; a byte of a file's name that is not UTF-8 becomes `\\xff`. Line
    breaks and tabs stay, as does all other text, in whatever script.
    """
    if text.isprintable():
        return text
    return "".join(character if _is_safe(character) else _escaped(character) for character in text)


def _is_safe(character: str) -> bool:
    return character in _KEPT or unicodedata.category(character) not in _UNPRINTABLE


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that Python could not decode (PEP 383)
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _on_one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n").replace("\t", " ")


def _indented(text: str) -> str:
    """Every line but the first moved in, so that nothing inside a message can pass for one of paddock's."""
    return re.sub(r"\n(?=[^ \n])", "\n  ", printable(text))


def _label(text: str, colour: str) -> str:
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return click.style(text, fg=colour, bold=True)


def _print(text: str) -> None:
    """Print to stdout. Raises PreflightError where it cannot be written, as on a full disk."""
    try:
        click.echo(text)
    except OSError as refused:
        _give_up(sys.stdout)
        if refused.errno == errno.EPIPE:
            raise ReaderGoneError("") from refused
        raise refusal(refused, "standard output") from refused


def _say(text: str, *, nl: bool = True) -> None:
    """Print to stderr. Where that fails the work goes on: its result does not lie there."""
    try:
        click.echo(text, err=True, nl=nl)
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Drop what a stream still holds: it would be tried again, and fail, at the end of the process."""
    with suppress(OSError):  # a stream without a file holds nothing
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def give_up_what_cannot_be_written() -> None:
    """After a failure: drop what click itself has printed to stdout, if it cannot be written."""
    try:
        click.echo(nl=False)  # which flushes, and goes well where there is no stdout
    except OSError:
        _give_up(sys.stdout)


def result(text: str) -> None:
    """Print one result line to stdout."""
    _print(printable(text))


def result_json(value: object) -> None:
    """Print `value` as JSON for a machine to read; keys keep their order.

    What a terminal would obey is written in JSON's own escapes, so that a reader gets it as it is.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    _print("".join(character if _is_safe(character) else json.dumps(character)[1:-1] for character in text))


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns to stdout."""
    lines = [[_on_one_line(cell) for cell in line] for line in [headings, *rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    for line in lines:
        _print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


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
    _say(f"{_label('error:', 'red')} {_indented(failure.message)}")
    if failure.hint:
        _say(f"{_label('hint:', 'cyan')} {_indented(failure.hint)}")


def usage_error(failure: click.ClickException) -> None:
    """Print what click says about a wrong command line, and how it is used, to stderr."""
    said = io.StringIO()
    failure.show(file=said)
    _say(printable(said.getvalue()), nl=False)


def defect() -> None:
    """Print the traceback of the exception that is being handled, a fault of paddock's own, to stderr."""
    _say(printable(traceback.format_exc()), nl=False)


class TerminalReporter:
    """The `Reporter` of the command line."""

    def say(self, message: str, /) -> None:
        _say(_indented(message))

    def warn(self, message: str, /) -> None:
        _say(f"{_label('warning:', 'yellow')} {_indented(message)}")

    @contextmanager
    def progress(self, label: str, *, total: int | None, unit: Unit, done: int = 0) -> Iterator[Advance]:
        """Draw a bar on a terminal; elsewhere print the label once, so that logs stay readable."""
        if not sys.stderr.isatty():
            self.say(f"{label} ...")
            yield lambda _amount: None
            return
        bar: ProgressBar[int]
        with click.progressbar(
            length=total or 0, label=_on_one_line(label), file=sys.stderr, show_pos=unit != "bytes"
        ) as bar:
            if done:
                bar.update(done)
            yield bar.update
