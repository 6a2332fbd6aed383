"""Reads YAML files into frozen dataclasses, strictly.

Generic: the records and their field types decide what a file may hold; nothing here knows the matrix. YAML is
read as a tree of positioned text, never through YAML's own guesses, so that `12.10`, `0123`, `no` and a date
cannot silently become something else, and so that every refusal names file, line and column.

Supported field types: str, int, float, bool, StrEnum, Literal, `tuple[T, ...]`, `Mapping` with string or
StrEnum keys, `T | None`, unions of scalars, dataclasses, and `Annotated[str, Pattern]`. A field with a
default may be left out.

A file may start from another one of its folder with `extends: <stem>`: maps are merged key by key, lists and
scalars of the child replace those of the parent.
"""

# ruff: noqa: ANN401 - which type a value has is decided by the record at run time
from __future__ import annotations

import dataclasses
import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from paddock.errors import DataError
from paddock.matrix.fieldtypes import FrozenDict, Pattern

_Record = TypeVar("_Record")
_ScalarValue = str | int | float | bool | None

_YAML_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,999})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NAMES: dict[Any, str] = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


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
class _Scalar:
    place: Place
    text: str
    tag: str  # what YAML 1.1 takes it for
    plain: bool  # written without quotes


@dataclass(frozen=True, kw_only=True, slots=True)
class _List:
    place: Place
    items: tuple[_Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Map:
    place: Place
    keys: Mapping[str, Place]
    values: Mapping[str, _Node]


_Node = _Scalar | _List | _Map


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded(Generic[_Record]):
    """A record, and where each of its values stands."""

    record: _Record
    tree: _Map
    parents: tuple[str, ...]  # stems of the files that it extends, nearest first

    def place(self, *keys: str | int) -> Place:
        """Where the value under `keys` stands, or the innermost part of it that exists."""
        node: _Node = self.tree
        for key in keys:
            below = _child(node, key)
            if below is None:
                break
            node = below
        return node.place


def read(path: Path, record: type[_Record], *, given: Mapping[str, object] | None = None) -> Loaded[_Record]:
    """Read the file into `record`.

    `given` are fields that the caller knows (the name, from the file's name); the file must not hold them.
    Raises DataError at the first thing that is wrong.
    """
    try:
        tree, parents = _resolve(path, ())
        return Loaded(record=_build(tree, record, "", given or {}), tree=tree, parents=parents)
    except RecursionError:
        raise Place(path=path).error("found values nested too deeply to read") from None


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a wrong one, if any is close."""
    matches = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


# --- from text to a tree ------------------------------------------------------------------------------------


def _resolve(path: Path, children: tuple[Path, ...]) -> tuple[_Map, tuple[str, ...]]:
    """The tree of a file merged over the files that it extends, and their stems."""
    tree = _parse(path)
    extends = tree.values.get("extends")
    if extends is None:
        return tree, ()
    parent = _parent(path, extends.place, _text(extends, "extends"))
    line = (*children, path)
    if parent in line:
        chain = " -> ".join(file.stem for file in (*line, parent))
        raise extends.place.error(f"extends: found the circle {chain}, expected a chain that ends")
    above, parents = _resolve(parent, line)
    return _merge(above, _without(tree, "extends")), (parent.stem, *parents)


def _parent(path: Path, place: Place, stem: str) -> Path:
    """The file that `stem` names: one of the same folder."""
    files = {file.stem: file for file in sorted(path.parent.glob("*.yaml"))}
    if stem not in files:
        others = [name for name in files if name != path.stem]
        raise place.error(
            f'extends: found "{stem}", expected one of the other files of its folder: {", ".join(others) or "none"}',
            hint=_did_you_mean(stem, others),
        )
    return files[stem]


def _merge(parent: _Map, child: _Map) -> _Map:
    values = dict(parent.values)
    for key, value in child.values.items():
        old = values.get(key)
        values[key] = _merge(old, value) if isinstance(old, _Map) and isinstance(value, _Map) else value
    return _Map(place=child.place, keys={**parent.keys, **child.keys}, values=values)


def _without(tree: _Map, name: str) -> _Map:
    return dataclasses.replace(tree, values={key: value for key, value in tree.values.items() if key != name})


def _parse(path: Path) -> _Map:
    text = _decode(path)
    try:
        _refuse_features(path, yaml.parse(text, Loader=yaml.SafeLoader))
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as failure:
        raise _syntax_error(path, failure) from None
    except yaml.reader.ReaderError as failure:
        line, column = _position(text, failure.position)
        place = Place(path=path, line=line, column=column)
        raise place.error(
            f"found the character U+{failure.character:04X}, expected text that YAML allows"
        ) from None
    if root is None:
        raise Place(path=path).error("found an empty file, expected a map of keys")
    tree = _node(path, root)
    if not isinstance(tree, _Map):
        raise tree.place.error(f"found {_describe(tree)}, expected a map of keys")
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
        line, column = _position(text, text.index("\t"))
        raise Place(path=path, line=line, column=column).error("found a tab, expected spaces")
    return text


def _position(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _syntax_error(path: Path, failure: yaml.MarkedYAMLError) -> DataError:
    mark = failure.problem_mark or failure.context_mark
    problem = ", ".join(part for part in (failure.context, failure.problem) if part)
    place = _place(path, mark) if mark else Place(path=path)
    return place.error(
        f"not YAML: {problem}", hint="look at this line and the one above: indentation, quotes, colons"
    )


def _refuse_features(path: Path, events: Iterable[yaml.Event]) -> None:
    """Refuse what makes one file mean more than it shows: anchors, aliases, tags, directives, several
    documents.
    """
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


_REPEAT = "write the value out, or put what is shared in a parent file and name it with extends"


def _place(path: Path, mark: Any) -> Place:
    return Place(path=path, line=mark.line + 1, column=mark.column + 1)


def _node(path: Path, node: yaml.Node) -> _Node:
    place = _place(path, node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return _map(path, place, node)
    if isinstance(node, yaml.SequenceNode):
        return _List(place=place, items=tuple(_node(path, item) for item in node.value))
    _refuse_control_characters(place, node.value)
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return _Scalar(place=place, text=node.value, tag=node.tag.removeprefix(_YAML_TAG), plain=plain)


def _refuse_control_characters(place: Place, text: str) -> None:
    """Escapes such as "\\0" bring them in; no value has a use for one, and a Dockerfile or YAML file breaks
    on them.
    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character != "\n":
            raise place.error(
                f"found the character U+{ord(character):04X}, expected text without control characters"
            )


def _map(path: Path, place: Place, node: yaml.MappingNode) -> _Map:
    keys: dict[str, Place] = {}
    values: dict[str, _Node] = {}
    for key_node, value_node in node.value:
        key = _node(path, key_node)
        if isinstance(key, _Scalar) and key.tag == "merge" and key.plain:
            raise key.place.error("found the merge key <<, expected a plain key", hint=_REPEAT)
        name = _text(key, "key")
        if name in keys:
            raise key.place.error(
                f'found the key "{name}" again, expected it once (first on line {keys[name].line})'
            )
        keys[name] = key.place
        values[name] = _node(path, value_node)
    return _Map(place=place, keys=keys, values=values)


# --- from a tree to records ---------------------------------------------------------------------------------


def _build(tree: _Map, record: type[_Record], where: str, given: Mapping[str, object]) -> _Record:
    """One dataclass from one map."""
    hints = get_type_hints(record, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(record)}  # type: ignore[arg-type]
    known = [name for name in fields if name not in given]
    for key in tree.values:
        if key not in known:
            raise _unknown_key(tree.keys[key], where, key, known, given)
    values = {key: _convert(node, hints[key], _under(where, key)) for key, node in tree.values.items()}
    missing = [name for name in known if name not in values and not _has_default(fields[name])]
    if missing:
        raise tree.place.error(
            _at(where, f"found no {_quoted(missing)}, expected it here"),
            hint="; ".join(f"{name}: {_expected(hints[name])}" for name in missing),
        )
    return record(**values, **given)


def _unknown_key(
    place: Place, where: str, key: str, known: list[str], given: Mapping[str, object]
) -> DataError:
    if key in given:
        return place.error(_at(where, f'found the key "{key}", expected none: it is the name of the file'))
    return place.error(
        _at(where, f'found the unknown key "{key}", expected one of {", ".join(known)}'),
        hint=_did_you_mean(key, known),
    )


def _convert(node: _Node, wanted: Any, where: str) -> Any:  # noqa: PLR0911 - one line a kind of type
    """The value of a node as the field's type wants it."""
    origin = get_origin(wanted)
    if origin is Annotated:
        return _patterned(node, wanted, where)
    if origin in (Union, UnionType):
        return _union(node, wanted, where)
    if origin is Literal:
        return _choice(node, {str(value): value for value in get_args(wanted)}, wanted, where)
    if origin is tuple:
        return _tuple(node, get_args(wanted)[0], wanted, where)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(node, wanted, where)
    if dataclasses.is_dataclass(wanted):
        if not isinstance(node, _Map):
            raise _mistyped(node, wanted, where)
        return _build(node, wanted, where, {})  # type: ignore[arg-type]
    if issubclass(wanted, StrEnum):
        return _choice(node, {member.value: member for member in wanted}, wanted, where)
    return _scalar(node, (wanted,), wanted, where)


def _patterned(node: _Node, wanted: Any, where: str) -> str:
    text: str = _scalar(node, (get_args(wanted)[0],), wanted, where)
    if not _matches(text, wanted):
        raise node.place.error(_at(where, f'found "{text}", expected {_expected(wanted)}'))
    return text


def _matches(text: str, wanted: Any) -> bool:
    """Whether the text has the form that the type asks for, if it asks for one."""
    patterns = [note for note in get_args(wanted) if isinstance(note, Pattern)]
    return all(re.fullmatch(pattern.expression, text) for pattern in patterns)


def _union(node: _Node, wanted: Any, where: str) -> Any:
    options = get_args(wanted)
    if NoneType in options and isinstance(node, _Scalar) and node.plain and node.text == "null":
        return None
    rest = tuple(option for option in options if option is not NoneType)
    if len(rest) == 1:
        return _convert(node, rest[0], where)
    return _scalar(node, rest, wanted, where)


def _choice(node: _Node, choices: Mapping[str, Any], wanted: Any, where: str) -> Any:
    text = _scalar(node, (str,), wanted, where)
    if text not in choices:
        raise node.place.error(
            _at(where, f'found "{text}", expected {_expected(wanted)}'), hint=_did_you_mean(text, choices)
        )
    return choices[text]


def _tuple(node: _Node, item: Any, wanted: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(node, _List):
        raise _mistyped(node, wanted, where)
    return tuple(_convert(value, item, f"{where}[{index}]") for index, value in enumerate(node.items))


def _mapping(node: _Node, wanted: Any, where: str) -> FrozenDict[Any, Any]:
    if not isinstance(node, _Map):
        raise _mistyped(node, wanted, where)
    key_type, value_type = get_args(wanted)
    return FrozenDict(
        {
            _key(node.keys[key], key, key_type, where): _convert(value, value_type, _under(where, key))
            for key, value in node.values.items()
        }
    )


def _key(place: Place, key: str, wanted: Any, where: str) -> Any:
    if wanted is str:
        return key
    return _convert(_Scalar(place=place, text=key, tag="str", plain=False), wanted, where)


def _scalar(node: _Node, kinds: tuple[type, ...], wanted: Any, where: str) -> Any:
    """A scalar of one of `kinds`; a whole number may stand where a number is wanted."""
    if not isinstance(node, _Scalar):
        raise _mistyped(node, wanted, where)
    clear, value = _read_scalar(node)
    if not clear:
        raise _mistyped(node, wanted, where)
    if type(value) is int and int not in kinds and float in kinds:
        value = float(value)
    if type(value) not in kinds:
        raise _mistyped(node, wanted, where)
    if isinstance(value, float) and str in kinds and repr(value) != node.text:
        raise node.place.error(
            _at(where, f"found the number {node.text}, expected {value!r} or a string"),
            hint=f'write {value!r} for the number, "{node.text}" for the text',
        )
    return value


def _read_scalar(node: _Scalar) -> tuple[bool, _ScalarValue]:
    """Whether everybody reads this scalar alike, and then its value.

    Only forms on which YAML 1.1, YAML 1.2 and a person agree count: true, false, null, decimal numbers, and
    text that looks like nothing else. `yes`, `0123`, `0x1f`, `1_000`, `1:30`, `.inf`, dates and empty values
    do not.
    """
    if not node.plain:
        return True, node.text
    if node.text in _WORDS:
        return True, _WORDS[node.text]
    if _INTEGER.fullmatch(node.text):
        return True, int(node.text)
    if _NUMBER.fullmatch(node.text):
        return math.isfinite(float(node.text)), float(node.text)
    return node.tag == "str", node.text


_WORDS: dict[str, _ScalarValue] = {"true": True, "false": False, "null": None}


def _text(node: _Node, where: str) -> str:
    text: str = _scalar(node, (str,), str, where)
    return text


def _mistyped(node: _Node, wanted: Any, where: str) -> DataError:
    return node.place.error(
        _at(where, f"found {_describe(node)}, expected {_expected(wanted)}"),
        hint=_mistyped_hint(node, wanted),
    )


def _mistyped_hint(node: _Node, wanted: Any) -> str:
    if not isinstance(node, _Scalar):
        return ""
    kinds = _scalar_kinds(wanted)
    if node.plain and node.text and str in kinds and _matches(node.text, wanted):
        return f'write it in quotes: "{node.text}"'
    if node.plain and node.tag == "bool" and bool in kinds:
        return "write true or false"
    if not node.plain and (node.text in _WORDS or _NUMBER.fullmatch(node.text)):
        return "write it without quotes"
    return ""


def _scalar_kinds(wanted: Any) -> tuple[Any, ...]:
    origin = get_origin(wanted)
    if origin is Annotated:
        return (str,)
    if origin in (Union, UnionType):
        return tuple(kind for option in get_args(wanted) for kind in _scalar_kinds(option))
    return (wanted,) if wanted in _NAMES else ()


def _describe(node: _Node) -> str:
    if isinstance(node, _Map):
        return "a map"
    if isinstance(node, _List):
        return "a list"
    return _describe_scalar(node)


def _describe_scalar(node: _Scalar) -> str:
    clear, value = _read_scalar(node)
    if not node.text and node.plain:
        return "nothing"
    if clear and isinstance(value, str):
        return f'the string "{node.text}"'
    if clear and value is None:
        return "null"
    if clear:
        return f"the {'boolean' if isinstance(value, bool) else 'number'} {node.text}"
    return _describe_ambiguous(node)


def _describe_ambiguous(node: _Scalar) -> str:
    kind = {"bool": "the boolean", "int": "the number", "float": "the number", "timestamp": "the date"}.get(
        node.tag
    )
    if kind is None:
        return node.text
    try:
        meaning = yaml.safe_load(node.text)
    except ValueError:  # a date such as 2026-13-45
        return f"{node.text}, which looks like {kind.replace('the', 'a', 1)}"
    return f"{node.text}, which YAML reads as {kind} {str(meaning).lower()}"


def _expected(wanted: Any) -> str:  # noqa: PLR0911 - one line a kind of type
    """A field's type in words."""
    origin = get_origin(wanted)
    if origin is Annotated:
        return next((note.meaning for note in get_args(wanted)[1:] if isinstance(note, Pattern)), "a string")
    if origin in (Union, UnionType):
        return _either(["null" if option is NoneType else _expected(option) for option in get_args(wanted)])
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(wanted)))}"
    if origin is tuple:
        return "a list"
    if wanted in _NAMES:
        return _NAMES[wanted]
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        return f"one of {', '.join(member.value for member in wanted)}"
    return "a map"


def _either(names: list[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _child(node: _Node, key: str | int) -> _Node | None:
    if isinstance(node, _Map) and isinstance(key, str):
        return node.values.get(key)
    if isinstance(node, _List) and isinstance(key, int) and key < len(node.items):
        return node.items[key]
    return None


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _under(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _at(where: str, message: str) -> str:
    return f"{where}: {message}" if where else message


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _did_you_mean(wrong: str, known: Iterable[str]) -> str:
    close = nearest(wrong, known)
    return f'did you mean "{close}"?' if close else ""
