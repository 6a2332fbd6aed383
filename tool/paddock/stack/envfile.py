"""A stack's `.env` when it is written: of what is there, only what must change does, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from paddock.stack.dotenv import Statement, decoded, encoded, statements

TUNED = "# Tuned by"  # how a file begins that `paddock tune --write` put in place of a rendered one

_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~-]*")


def keep_settings(example: bytes, present: bytes, path: Path, *, but: Collection[str] = ()) -> bytes:
    """The file `present` with the settings of `example` that it lacks, and the example's values of `but`.

    A setting that is commented out is not lacking. Each new one comes with its comment, behind the setting
    that stands before it in the example. Raises DataError where Compose could not read `present`.
    """
    text, before = decoded(present), ""
    for setting in _settings(decoded(example), path):
        is_set = _last(text, setting.name, path) is not None
        if is_set and setting.name in but:
            text = _with_written(text, setting.name, setting.written, path)
        elif not is_set and (setting.name in but or not _is_commented_out(text, setting.name)):
            text = _inserted(text, setting, before, path)
        before = setting.name
    return encoded(text)


def with_setting(data: bytes, name: str, value: str, path: Path) -> bytes:
    """The file with that value of a setting: in its place where it is set, else at the end.

    Raises DataError where Compose could not read the file.
    """
    text = decoded(data)
    if _last(text, name, path) is not None:
        return encoded(_with_written(text, name, quoted(value), path))
    return encoded(f"{_ended(text)}{name}={quoted(value)}{_line_end(text)}")


def quoted(value: str) -> str:
    """The value as it must be written for Compose to read back exactly that."""
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value and not value.endswith("\\"):
        return f"'{value}'"
    # Before a quote a backslash is written by its number: not every Compose counts a pair of them as one.
    safe = re.sub(r'\\(?="|$)', r"\\0134", re.sub(r'\\(?!"|$)', r"\\\\", value))
    safe = safe.replace("$", "\\$").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{safe}"'


def is_tuned(path: Path) -> bool:
    """Whether `paddock tune --write` made the file that is there; nothing else may replace it."""
    return (
        path.suffix in (".yaml", ".conf") and path.is_file() and path.read_bytes().startswith(TUNED.encode())
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setting:
    """A setting of the example: the comment above it, without blank lines, and its value as it is written."""

    name: str
    comment: tuple[str, ...]
    written: str


def _settings(example: str, path: Path) -> Iterator[_Setting]:
    end = 0
    for statement in statements(example, path):
        paragraph = example[end : statement.start].rpartition("\n\n")[2]
        comment = [line for line in paragraph.split("\n")[:-1] if line.startswith("#")]
        written = example[statement.start : statement.end]
        yield _Setting(name=statement.name, comment=tuple(comment), written=written)
        end = statement.end


def _is_commented_out(text: str, name: str) -> bool:
    return re.search(rf"^\ufeff?[ \t]*#[ \t]*(export[ \t]+)?{name}[ \t]*[=:]", text, re.MULTILINE) is not None


def _last(text: str, name: str, path: Path) -> Statement | None:
    """The statement that counts: of several for one name, the last."""
    return {statement.name: statement for statement in statements(text, path)}.get(name)


def _with_written(text: str, name: str, written: str, path: Path) -> str:
    statement = _last(text, name, path)
    assert statement is not None  # noqa: S101 - the caller has seen it
    equals = "=" if statement.bare else ""
    rest = text[statement.end :].partition("\n")[0]
    if rest.strip() and not (written and rest.startswith(" #")) and not written.startswith(("'", '"')):
        written = f"'{written}'"  # else what stands behind it on its line would belong to it
    return f"{text[: statement.start]}{equals}{written}{text[statement.end :]}"


def _inserted(text: str, setting: _Setting, before: str, path: Path) -> str:
    """The text with a setting behind the one that is called `before`; at the end where there is none."""
    lines = [line for line in setting.comment if line not in text]
    lines.append(f"{setting.name}={setting.written}")
    new = "".join(f"{line}{_line_end(text)}" for line in lines)
    end = _end_of_line(text, before, path)
    return f"{_ended(text)}{new}" if end < 0 else f"{text[: end + 1]}{new}{text[end + 1 :]}"


def _end_of_line(text: str, name: str, path: Path) -> int:
    """Where the line ends on which a setting does, and with it whatever else begins there; -1 for nowhere."""
    end = -1
    for statement in statements(text, path):
        if statement.name == name or 0 <= statement.start < end < statement.end:
            end = text.find("\n", statement.end)
    return end


def _ended(text: str) -> str:
    """The text with an end of its last line."""
    return text if not text or text.endswith("\n") else f"{text}{_line_end(text)}"


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
