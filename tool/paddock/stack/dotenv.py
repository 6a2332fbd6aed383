"""An `.env` file as Docker Compose reads it: its statements, and the values that they give. Pure.

The rules are those of compose-go (its packages dotenv and template), which Compose is built with: `export`,
spaces and `:` around names, quotes over several lines, escapes, comments, `${NAME:-default}`.
tests/proofs/test_dotenv.py measures each of them on `docker compose config`.

Bytes that are not UTF-8 are kept as surrogate escapes, so that a file can be written back as it was.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import DataError

_BOM = "\ufeff"
# Spaces within a line, and everything that separates statements: Unicode's White_Space, as Go has it.
_BLANKS = "\t\v\f\r \x85\xa0"
_SPACES = f"{_BLANKS}\n\u1680{''.join(map(chr, range(0x2000, 0x200B)))}\u2028\u2029\u202f\u205f\u3000"
_EXPORT = re.compile(r"export(?=[\t\n\f\r ])")
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0[0-9]{0,3})')
_ESCAPED = dict(zip(r"abfnrtv", "\a\b\f\n\r\t\v", strict=True)) | {'"': '"', "\\": "\\", "$": "$$"}
_OCTAL = re.compile(r"[0-3][0-7]{2}")
_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(rf"\$(?:\$|{_NAME}|\{{(?:{_NAME}(?::?[-+?].*)?\}})?)")
_BRACED = re.compile(rf"\$\{{(?P<name>{_NAME})(?:(?P<operator>:?[-+?])(?P<argument>.*))?\}}")

Lookup = Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One `NAME=value`. `text[start:end]` of the file is the value as it is written, with its quotes.

    `content` is what stands between the quotes (`quote` is empty without any); nothing in it is replaced yet.
    `bare` is a name alone: its value is that of the environment.
    """

    name: str
    start: int
    end: int
    content: str
    quote: str
    bare: bool


def decoded(data: bytes) -> str:
    """The text of an `.env` file; what is not UTF-8 becomes surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """The bytes that `decoded` made the text of."""
    return text.encode("utf-8", "surrogateescape")


def values_in(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that a file gives; none where there is no file. Raises DataError where Compose refuses it.

    `environment` is for the `$NAME` in them, which take their values from there first.
    """
    return values(decoded(path.read_bytes()), path, environment) if path.is_file() else {}


def values(text: str, path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that the text of the file `path` gives, its `$NAME` and escapes replaced."""
    found: dict[str, str] = {}

    def lookup(name: str) -> str | None:
        return environment.get(name, found.get(name))

    for statement in statements(text, path):
        if statement.bare:
            found |= {statement.name: environment[statement.name]} if statement.name in environment else {}
            continue
        content = statement.content
        if statement.quote == '"':
            content = _ESCAPE.sub(_unescaped, content)
        if statement.quote != "'":
            try:
                content = expanded(content, lookup)
            except ValueError as refused:
                raise _refusal(text, statement.start, path, str(refused)) from refused
        found[statement.name] = content
    return found


def statements(text: str, path: Path) -> Iterator[Statement]:
    """The statements in order. Raises DataError at the first one that Compose cannot read."""
    place = _next(text, len(_BOM) if text.startswith(_BOM) else 0)
    while place < len(text):
        statement, end = _statement(text, place, path)
        if "\0" in statement.content or not (statement.name or statement.bare):
            raise _refusal(text, place, path, "found no name, or a zero byte, expected NAME=value")
        if statement.name:
            yield statement
        place = _next(text, end)


def expanded(text: str, lookup: Lookup) -> str:
    """The text with `$NAME`, `${NAME}` and `${NAME:-default}` replaced, and `$$` by `$`.

    Raises ValueError for what Compose refuses: `${`, and `${NAME:?reason}` without a value.
    """
    return _REFERENCE.sub(lambda match: _replacement(match[0], lookup), text)


def _replacement(found: str, lookup: Lookup) -> str:
    if found == "$$":
        return "$"
    if not found.startswith("${"):
        return lookup(found[1:]) or ""
    end = _closing_brace(found)
    braced = _BRACED.fullmatch(found[:end])
    if braced is None:
        raise ValueError(f"found {found!r}, expected ${{NAME}} or $$")
    return _value_of(braced, lookup) + expanded(found[end:], lookup)


def _value_of(braced: re.Match[str], lookup: Lookup) -> str:
    name, operator, argument = braced["name"], braced["operator"] or "", braced["argument"] or ""
    argument = expanded(argument, lookup)  # even where it is not needed: a fault in it is one all the same
    value = lookup(name)
    given = bool(value) if operator.startswith(":") else value is not None
    match operator[-1:]:
        case "+":
            return argument if given else value or ""
        case "-":
            return value or "" if given else argument
        case "?" if not given:
            raise ValueError(f"{name}: found no value, expected one: {argument}")
    return value or ""


def _closing_brace(found: str) -> int:
    """Where the first braces end, those inside them counted; the whole length where they are not closed."""
    depth, place = 0, 0
    while place < len(found):
        if found[place] == "}":
            depth -= 1
            if depth == 0:
                return place + 1
        elif found[place] == "{":
            depth += 1
            place += 1  # whatever follows a brace is not looked at
        place += 1
    return len(found)


def _unescaped(match: re.Match[str]) -> str:
    sequence = match[0][1:]
    if sequence.startswith("0"):
        digits = sequence[1:]
        return chr(int(digits, 8)) if _OCTAL.fullmatch(digits) else f"\\{digits}"
    return _ESCAPED.get(sequence, match[0])


def _statement(text: str, start: int, path: Path) -> tuple[Statement, int]:
    """The statement that begins at `start`, and where it ends."""
    if _EXPORT.match(text, start):
        start = _past_blanks(text, start + len("export"))
    end = _end_of_name(text, start, path)
    if end == len(text):
        raise _refusal(text, start, path, "found the end of the file, expected NAME=value and an end of line")
    name = text[start:end].rstrip(_SPACES)
    if " " in name:
        raise _refusal(text, start, path, f'found "{name}", expected a name without spaces')
    if text[end] == "\n":
        after = start + len(name)
        return Statement(name=name, start=after, end=after, content="", quote="", bare=True), end + 1
    first = _past_blanks(text, end + 1)
    quote = text[first : first + 1]
    if quote and quote in "'\"":
        content, last = _quoted(text, first, path)
        return Statement(name=name, start=first, end=last, content=content, quote=quote, bare=False), last
    line, _, _ = text[first:].partition("\n")
    content = line.partition(" #")[0].rstrip(_SPACES)
    last = first + len(content)
    end_of_line = first + len(line)
    return Statement(name=name, start=first, end=last, content=content, quote="", bare=False), end_of_line


def _end_of_name(text: str, start: int, path: Path) -> int:
    """Where a name ends: at `=`, `:` or the end of the line, or of the text."""
    for place in range(start, len(text)):
        character = text[place]
        if character in "=:\n":
            return place
        known = character in "_.-[]" or character in _BLANKS or unicodedata.category(character)[0] in "LN"
        if not known:
            raise _refusal(text, place, path, f"found {character!r} in a name, expected NAME=value")
    return len(text)


def _quoted(text: str, start: int, path: Path) -> tuple[str, int]:
    """What stands in the quotes that begin at `start`, quotes in it freed of their backslash; its end."""
    quote, characters, place = text[start], [], start + 1
    while place < len(text) and text[place] != quote:
        if text[place] == "\\" and place + 1 < len(text):
            place += 1
            characters.append(quote if text[place] == quote else f"\\{text[place]}")
        else:
            characters.append(text[place])
        place += 1
    if place >= len(text):
        raise _refusal(text, start, path, f"found no closing {quote}, expected one")
    return "".join(characters), place + 1


def _next(text: str, place: int) -> int:
    """Where the next statement begins, past spaces and comments; the length of the text where none does."""
    while place < len(text):
        if text[place] == "#":
            end = text.find("\n", place)
            place = len(text) if end < 0 else end
        elif text[place] in _SPACES:
            place += 1
        else:
            break
    return place


def _past_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place] in _BLANKS:
        place += 1
    return place


def _refusal(text: str, place: int, path: Path, message: str) -> DataError:
    line = text.count("\n", 0, place) + 1
    column = place - (text.rfind("\n", 0, place) + 1) + 1
    return DataError(path, line, column, message, hint=f"correct line {line} of {path}: Compose refuses it")
