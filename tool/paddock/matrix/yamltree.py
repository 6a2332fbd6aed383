"""Reads a YAML file into a tree of positioned text, without any of YAML's own guesses.

So `12.10`, `0123`, `no` and a date cannot silently become something else, and every refusal can name file,
line and column. What makes a file mean more than it shows is refused: anchors, tags, directives, merge keys,
equal keys, several documents, tabs and control characters.

A file may start from another one of its folder with `extends: <stem>`: maps are merged key by key, lists and
scalars of the child replace those of the parent.
"""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from paddock.errors import DataError
from paddock.matrix.nearest import did_you_mean

_YAML_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,999})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_REPEAT = "write the value out, or put what is shared in a parent file and name it with extends"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One position of one file; `line` and `column` count from 1."""

    path: Path
    line: int = 1
    column: int = 1

    def error(self, message: str, *, hint: str = "") -> DataError:
        """The error to raise for what stands here."""
        return DataError(self.path, self.line, self.column, message, hint=hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scalar:
    """One value that is neither a list nor a map."""

    place: Place
    text: str
    tag: str  # what YAML 1.1 takes it for
    plain: bool  # written without quotes

    @property
    def value(self) -> str | int | float | bool | None:
        """What it means. Only forms on which YAML 1.1, YAML 1.2 and a person agree are more than text."""
        if not self.plain:
            return self.text
        if self.text in _WORDS:
            return _WORDS[self.text]
        if _INTEGER.fullmatch(self.text):
            return int(self.text)
        return float(self.text) if _NUMBER.fullmatch(self.text) else self.text

    @property
    def is_clear(self) -> bool:
        """Whether everybody reads it alike.

        Not so with `yes`, `0123`, `0x1f`, `1_000`, `1:30`, `.inf`, dates and empty values.
        """
        if isinstance(self.value, float):
            return math.isfinite(self.value)
        return not self.plain or not isinstance(self.value, str) or self.tag == "str"

    @property
    def needs_its_quotes(self) -> bool:
        """Whether the text would mean something else without quotes."""
        return self.text in _WORDS or bool(_NUMBER.fullmatch(self.text))


@dataclass(frozen=True, kw_only=True, slots=True)
class List:
    """The items of one list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Map:
    """The values of one map, and where each of its keys stands."""

    place: Place
    keys: Mapping[str, Place]
    values: Mapping[str, Node]


Node = Scalar | List | Map


def read_tree(path: Path, children: tuple[Path, ...] = ()) -> tuple[Map, tuple[str, ...]]:
    """The tree of a file merged over the files that it extends, and their stems, nearest first.

    `children` are the files that lead here by `extends`. Raises DataError at the first thing that is wrong.
    """
    tree = _parse(path)
    extends = tree.values.get("extends")
    if extends is None:
        return tree, ()
    parent = _parent(path, extends.place, text_of(extends, "extends"))
    line = (*children, path)
    if parent in line:
        chain = " -> ".join(file.stem for file in (*line, parent))
        raise extends.place.error(f"extends: found the circle {chain}, expected a chain that ends")
    above, parents = read_tree(parent, line)
    return _merge(above, _without(tree, "extends")), (parent.stem, *parents)


def text_of(node: Node, where: str) -> str:
    """The text of a node that must be a string. Raises DataError where not everybody would read one."""
    if isinstance(node, Scalar) and node.is_clear and isinstance(node.value, str):
        return node.value
    hint = in_quotes(node) if isinstance(node, Scalar) and node.plain and node.text else ""
    raise node.place.error(f"{where}: found {describe(node)}, expected a string", hint=hint)


def in_quotes(scalar: Scalar) -> str:
    """The hint for a string that lacks its quotes."""
    return f'write it in quotes: "{scalar.text}"'


def describe(node: Node) -> str:
    """What stands there, in the words of a message."""
    if isinstance(node, Map):
        return "a map"
    if isinstance(node, List):
        return "a list"
    return _describe_clear(node) if node.is_clear else _describe_ambiguous(node)


def _describe_clear(scalar: Scalar) -> str:
    match scalar.value:
        case str():
            return f'the string "{scalar.text}"'
        case None:
            return "null"
        case bool():
            return f"the boolean {scalar.text}"
    return f"the number {scalar.text}"


def _describe_ambiguous(scalar: Scalar) -> str:
    kinds = {"bool": "boolean", "int": "number", "float": "number", "timestamp": "date"}
    kind = kinds.get(scalar.tag)
    if kind is None:
        return scalar.text or "nothing"
    try:
        meaning = yaml.safe_load(scalar.text)
    except ValueError:  # a date such as 2026-13-45
        return f"{scalar.text}, which looks like a {kind}"
    return f"{scalar.text}, which YAML reads as the {kind} {str(meaning).lower()}"


# --- files that extend others -------------------------------------------------------------------------------


def _parent(path: Path, place: Place, stem: str) -> Path:
    """The file that `stem` names: one of the same folder."""
    files = {file.stem: file for file in sorted(path.parent.glob("*.yaml"))}
    if stem not in files:
        others = [name for name in files if name != path.stem]
        known = ", ".join(others) or "none"
        raise place.error(
            f'extends: found "{stem}", expected one of the other files of its folder: {known}',
            hint=did_you_mean(stem, others),
        )
    return files[stem]


def _merge(parent: Map, child: Map) -> Map:
    values = dict(parent.values)
    for key, value in child.values.items():
        old = values.get(key)
        values[key] = _merge(old, value) if isinstance(old, Map) and isinstance(value, Map) else value
    return Map(place=child.place, keys={**parent.keys, **child.keys}, values=values)


def _without(tree: Map, name: str) -> Map:
    return dataclasses.replace(tree, values={key: value for key, value in tree.values.items() if key != name})


# --- from text to a tree ------------------------------------------------------------------------------------


def _parse(path: Path) -> Map:
    text = _decode(path)
    try:
        _refuse_features(path, yaml.parse(text, Loader=yaml.SafeLoader))
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as failure:
        raise _syntax_error(path, failure) from None
    except yaml.reader.ReaderError as failure:
        place = _place_at(path, text, failure.position)
        raise place.error(
            f"found the character U+{failure.character:04X}, expected text that YAML allows"
        ) from None
    if root is None:
        raise Place(path=path).error("found an empty file, expected a map of keys")
    tree = _node(path, root)
    if not isinstance(tree, Map):
        raise tree.place.error(f"found {describe(tree)}, expected a map of keys")
    return tree


def _decode(path: Path) -> str:
    """The file's text; tabs are refused because YAML allows them in some places and editors hide them."""
    try:
        raw = path.read_bytes()
    except OSError as failure:
        raise Place(path=path).error(f"cannot be read: {failure.strerror}") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as failure:
        line = raw.count(b"\n", 0, failure.start) + 1
        column = failure.start - raw.rfind(b"\n", 0, failure.start)
        place = Place(path=path, line=line, column=column)
        raise place.error(f"found the byte 0x{raw[failure.start]:02x}, expected UTF-8") from None
    if "\t" in text:
        raise _place_at(path, text, text.index("\t")).error("found a tab, expected spaces")
    return text


def _syntax_error(path: Path, failure: yaml.MarkedYAMLError) -> DataError:
    mark = failure.problem_mark or failure.context_mark
    problem = ", ".join(part for part in (failure.context, failure.problem) if part)
    place = _place(path, mark) if mark else Place(path=path)
    return place.error(
        f"not YAML: {problem}", hint="look at this line and the one above: indentation, quotes, colons"
    )


def _refuse_features(path: Path, events: Iterable[yaml.Event]) -> None:
    """Refuse what makes one file mean more than it shows."""
    documents = 0
    for event in events:
        place = _place(path, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise place.error(f"found the alias *{event.anchor}, expected the value itself", hint=_REPEAT)
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            raise place.error(f"found the anchor &{event.anchor}, expected a plain value", hint=_REPEAT)
        if getattr(event, "tag", None):
            raise place.error(
                "found a tag, expected a plain value", hint="the key decides the type; remove the tag"
            )
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if event.version or event.tags:
                raise place.error(
                    "found a % directive, expected none", hint="remove the line that starts with %"
                )
        if documents > 1:
            raise place.error("found a second document, expected one in a file", hint="split the file at ---")


def _node(path: Path, node: yaml.Node) -> Node:
    place = _place(path, node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return _map(path, place, node)
    if isinstance(node, yaml.SequenceNode):
        return List(place=place, items=tuple(_node(path, item) for item in node.value))
    _refuse_control_characters(place, node.value)
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return Scalar(place=place, text=node.value, tag=node.tag.removeprefix(_YAML_TAG), plain=plain)


def _refuse_control_characters(place: Place, text: str) -> None:
    """Refuse what escapes such as "\\0" bring in: no value needs it, and it breaks Dockerfiles and YAML."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character != "\n":
            raise place.error(
                f"found the character U+{ord(character):04X}, expected text without control characters"
            )


def _map(path: Path, place: Place, node: yaml.MappingNode) -> Map:
    keys: dict[str, Place] = {}
    values: dict[str, Node] = {}
    for key_node, value_node in node.value:
        key = _node(path, key_node)
        if isinstance(key, Scalar) and key.tag == "merge" and key.plain:
            raise key.place.error("found the merge key <<, expected a plain key", hint=_REPEAT)
        name = text_of(key, "key")
        if name in keys:
            raise key.place.error(
                f'found the key "{name}" again, expected it once (first on line {keys[name].line})'
            )
        keys[name] = key.place
        values[name] = _node(path, value_node)
    return Map(place=place, keys=keys, values=values)


def _place(path: Path, mark: Any) -> Place:  # noqa: ANN401 - two types of mark, in C and Python
    return Place(path=path, line=mark.line + 1, column=mark.column + 1)


def _place_at(path: Path, text: str, offset: int) -> Place:
    return Place(path=path, line=text.count("\n", 0, offset) + 1, column=offset - text.rfind("\n", 0, offset))
