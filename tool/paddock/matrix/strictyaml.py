"""Reads YAML files into frozen dataclasses, strictly.

Generic: the records and their field types decide what a file may hold; nothing here knows the matrix. How the
files themselves are read, and what `extends` does, is in `yamltree`.

Supported field types: str, int, float, bool, StrEnum, Literal, `Annotated[str, Pattern]`, `tuple[T, ...]`,
`Mapping` with string or StrEnum keys, dataclasses, `T | None`, unions of scalars and unions of dataclasses.
Those of a union have a tag, a field that is a `Literal` in each of them and says which one is meant. A field
with a default may be left out.
"""

# ruff: noqa: ANN401 - which type a value has is decided by the record at run time
from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from paddock.errors import DataError
from paddock.matrix.fieldtypes import FrozenDict, Pattern
from paddock.matrix.nearest import did_you_mean
from paddock.matrix.yamltree import List, Map, Node, Place, Scalar, describe, in_quotes, read_tree

_Record = TypeVar("_Record")

_SCALARS: dict[Any, str] = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded(Generic[_Record]):
    """A record, and where each of its values stands."""

    record: _Record
    tree: Map
    parents: tuple[str, ...]  # stems of the files that it extends, nearest first

    def place(self, *keys: str | int) -> Place:
        """Where the value under `keys` stands, or the innermost part of it that exists."""
        node: Node = self.tree
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
        tree, parents = read_tree(path)
        return Loaded(record=_build(tree, record, "", given or {}), tree=tree, parents=parents)
    except RecursionError:
        raise Place(path=path).error("found values nested too deeply to read") from None


# --- records ------------------------------------------------------------------------------------------------


def _build(tree: Map, record: type[_Record], where: str, given: Mapping[str, object]) -> _Record:
    """One dataclass from one map."""
    hints = get_type_hints(record, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(record)}  # type: ignore[arg-type]
    known = [name for name in fields if name not in given]
    for key in tree.values:
        if key not in known:
            raise _unknown_key(tree.keys[key], where, key, known, given)
    values = {key: _read(node, hints[key], _under(where, key)) for key, node in tree.values.items()}
    missing = [name for name in known if name not in values and not _has_default(fields[name])]
    if missing:
        raise _missing_keys(tree.place, where, {name: hints[name] for name in missing})
    return record(**values, **given)


def _unknown_key(
    place: Place, where: str, key: str, known: list[str], given: Mapping[str, object]
) -> DataError:
    if key in given:
        return place.error(_at(where, f'found the key "{key}", expected none: it is the name of the file'))
    return place.error(
        _at(where, f'found the unknown key "{key}", expected one of {", ".join(known)}'),
        hint=did_you_mean(key, known),
    )


def _missing_keys(place: Place, where: str, wanted: Mapping[str, Any]) -> DataError:
    names = ", ".join(f'"{name}"' for name in wanted)
    return place.error(
        _at(where, f"found no {names}, expected it here"),
        hint="; ".join(f"{name}: {_words(kind)}" for name, kind in wanted.items()),
    )


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


# --- values, by kind of field type --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """What can be done with one kind of field type."""

    read: Callable[[Node, Any, str], Any]  # node, type and where it stands -> value
    words: Callable[[Any], str]  # type -> what messages call it
    scalars: Callable[[Any], tuple[Any, ...]] = lambda _wanted: ()  # type -> the plain scalars that it takes


def _read(node: Node, wanted: Any, where: str) -> Any:
    """The value of a node as the field's type wants it."""
    return _kind(wanted).read(node, wanted, where)


def _words(wanted: Any) -> str:
    """A field's type in words."""
    return _kind(wanted).words(wanted)


def _kind(wanted: Any) -> _Kind:
    form = get_origin(wanted) or wanted
    if form in _KINDS:
        return _KINDS[form]
    return _KINDS[StrEnum if issubclass(form, StrEnum) else dataclass]


def _read_record(node: Node, wanted: Any, where: str) -> Any:
    if not isinstance(node, Map):
        raise _mistyped(node, wanted, where)
    return _build(node, wanted, where, {})


def _read_pattern(node: Node, wanted: Any, where: str) -> str:
    text: str = _scalar(node, (str,), wanted, where)
    if not _matches(text, wanted):
        raise node.place.error(_at(where, f'found "{text}", expected {_words(wanted)}'))
    return text


def _pattern_words(wanted: Any) -> str:
    return next((pattern.meaning for pattern in _patterns(wanted)), _SCALARS[str])


def _matches(text: str, wanted: Any) -> bool:
    """Whether the text has the form that the type asks for, if it asks for one."""
    return all(re.fullmatch(pattern.expression, text) for pattern in _patterns(wanted))


def _patterns(wanted: Any) -> list[Pattern]:
    return [note for note in get_args(wanted) if isinstance(note, Pattern)]


def _read_union(node: Node, wanted: Any, where: str) -> Any:
    options = tuple(option for option in get_args(wanted) if option is not NoneType)
    may_be_null = len(options) < len(get_args(wanted))
    if may_be_null and isinstance(node, Scalar) and node.plain and node.text == "null":
        return None
    if len(options) == 1:
        return _read(node, options[0], where)
    if all(dataclasses.is_dataclass(option) for option in options):
        return _read_tagged(node, options, wanted, where)
    return _scalar(node, options, wanted, where)


def _read_tagged(node: Node, records: Sequence[Any], wanted: Any, where: str) -> Any:
    """One of several records: that whose tag is in the map."""
    if not isinstance(node, Map):
        raise _mistyped(node, wanted, where)
    tag = _tag(records)
    choices = {
        str(value): record
        for record in records
        for value in get_args(get_type_hints(record, include_extras=True)[tag])
    }
    tags: Any = Literal.__getitem__(tuple(choices))
    if tag not in node.values:
        raise _missing_keys(node.place, where, {tag: tags})
    return _build(node, _choice(node.values[tag], choices, tags, _under(where, tag)), where, {})


def _tag(records: Sequence[Any]) -> str:
    """The field that is a `Literal` in all of these records."""
    hints = [get_type_hints(record, include_extras=True) for record in records]
    for name in hints[0]:
        if all(get_origin(fields.get(name)) is Literal for fields in hints):
            return name
    raise TypeError(f"no field is a Literal in all of {', '.join(record.__name__ for record in records)}")


def _union_words(wanted: Any) -> str:
    options = ("null" if option is NoneType else _words(option) for option in get_args(wanted))
    *names, last = dict.fromkeys(options)
    return f"{', '.join(names)} or {last}" if names else last


def _union_scalars(wanted: Any) -> tuple[Any, ...]:
    options = [option for option in get_args(wanted) if option is not NoneType]
    return tuple(scalar for option in options for scalar in _kind(option).scalars(option))


def _read_literal(node: Node, wanted: Any, where: str) -> Any:
    return _choice(node, {str(value): value for value in get_args(wanted)}, wanted, where)


def _read_member(node: Node, wanted: Any, where: str) -> Any:
    return _choice(node, {member.value: member for member in wanted}, wanted, where)


def _choice(node: Node, choices: Mapping[str, Any], wanted: Any, where: str) -> Any:
    text = _scalar(node, (str,), wanted, where)
    if text not in choices:
        raise node.place.error(
            _at(where, f'found "{text}", expected {_words(wanted)}'), hint=did_you_mean(text, choices)
        )
    return choices[text]


def _one_of(values: Iterable[object]) -> str:
    return f"one of {', '.join(map(str, values))}"


def _read_tuple(node: Node, wanted: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(node, List):
        raise _mistyped(node, wanted, where)
    item = get_args(wanted)[0]
    return tuple(_read(value, item, f"{where}[{index}]") for index, value in enumerate(node.items))


def _read_mapping(node: Node, wanted: Any, where: str) -> FrozenDict[Any, Any]:
    if not isinstance(node, Map):
        raise _mistyped(node, wanted, where)
    key_type, value_type = get_args(wanted)
    values = {}
    for key, value in node.values.items():
        name = _read_key(node.keys[key], key, key_type, where)
        values[name] = _read(value, value_type, _under(where, key))
    return FrozenDict(values)


def _read_key(place: Place, key: str, wanted: Any, where: str) -> Any:
    if wanted is str:
        return key
    return _read(Scalar(place=place, text=key, tag="str", plain=False), wanted, where)


def _read_scalar(node: Node, wanted: Any, where: str) -> Any:
    return _scalar(node, (wanted,), wanted, where)


def _scalar(node: Node, types: tuple[type, ...], wanted: Any, where: str) -> Any:
    """A scalar of one of `types`; a whole number may stand where a number is wanted."""
    if not isinstance(node, Scalar) or not node.is_clear:
        raise _mistyped(node, wanted, where)
    value = node.value
    if type(value) is int and int not in types and float in types:
        value = float(value)
    if type(value) not in types:
        raise _mistyped(node, wanted, where)
    if isinstance(value, float) and str in types and repr(value) != node.text:
        raise node.place.error(
            _at(where, f"found the number {node.text}, expected {value!r} or a string"),
            hint=f'write {value!r} for the number, "{node.text}" for the text',
        )
    return value


_SCALAR = _Kind(read=_read_scalar, words=_SCALARS.__getitem__, scalars=lambda wanted: (wanted,))
_UNION = _Kind(read=_read_union, words=_union_words, scalars=_union_scalars)
_KINDS: Mapping[Any, _Kind] = {
    **dict.fromkeys(_SCALARS, _SCALAR),
    Annotated: _Kind(read=_read_pattern, words=_pattern_words, scalars=lambda _wanted: (str,)),
    Union: _UNION,
    UnionType: _UNION,
    Literal: _Kind(read=_read_literal, words=lambda wanted: _one_of(get_args(wanted))),
    StrEnum: _Kind(read=_read_member, words=_one_of),
    tuple: _Kind(read=_read_tuple, words=lambda _wanted: "a list"),
    Mapping: _Kind(read=_read_mapping, words=lambda _wanted: "a map"),
    dataclass: _Kind(read=_read_record, words=lambda _wanted: "a map"),
}


# --- messages -----------------------------------------------------------------------------------------------


def _mistyped(node: Node, wanted: Any, where: str) -> DataError:
    return node.place.error(
        _at(where, f"found {describe(node)}, expected {_words(wanted)}"), hint=_mistyped_hint(node, wanted)
    )


def _mistyped_hint(node: Node, wanted: Any) -> str:
    if not isinstance(node, Scalar):
        return ""
    scalars = _kind(wanted).scalars(wanted)
    if node.plain and node.text and str in scalars and _matches(node.text, wanted):
        return in_quotes(node)
    if node.plain and node.tag == "bool" and bool in scalars:
        return "write true or false"
    if not node.plain and node.needs_its_quotes:
        return "write it without quotes"
    return ""


def _child(node: Node, key: str | int) -> Node | None:
    if isinstance(node, Map) and isinstance(key, str):
        return node.values.get(key)
    if isinstance(node, List) and isinstance(key, int) and key < len(node.items):
        return node.items[key]
    return None


def _under(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _at(where: str, message: str) -> str:
    return f"{where}: {message}" if where else message
