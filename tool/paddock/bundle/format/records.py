"""JSON read strictly into frozen dataclasses, and written back in one canonical form.

Whatever a bundle or a site keeps as JSON is described by a dataclass (a record) and goes through here:
manifests, receipts, export journals, the site's state. The input may be hostile or damaged, so nothing is
converted or filled in. An object must have exactly the keys of its record, also those with a default, and
each value must be of the type that the record declares:

    record field                 JSON value
    `str`, `int`, `bool`         that type: neither `true` nor `1.0` is an integer
    `T | None`                   `null`, or what `T` takes
    `tuple[T, ...]`              a list of what `T` takes
    a `StrEnum`                  one of its values
    a dataclass                  an object, read the same way
    `Annotated[int, Bounds()]`   an integer within the bounds, such as `Size`

A new file is read with `read_record(parse_json(data, where=name), Record, where=name)`. What values mean
together, such as an offset and a size, is the caller's to check.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from paddock.errors import BundleError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    _Record = TypeVar("_Record", bound=DataclassInstance)
else:
    _Record = TypeVar("_Record")

_IN_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a fraction",
    bool: "true or false",
    NoneType: "null",
}

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """The least and the greatest value of an integer field; by default those of a file's size."""

    least: int = 0
    greatest: int = (1 << 63) - 1


Size = Annotated[int, Bounds()]  # a size, an offset or a count


class _MismatchError(Exception):
    """A value that does not fit its record; the text is the whole message."""


def parse_json(data: bytes, *, where: str, hint: str = "") -> object:
    """The value in a JSON text.

    Raises BundleError, its message beginning with `where`, for anything that is not JSON, and for an object
    that has a key twice.
    """
    try:
        value: object = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as wrong:
        raise BundleError(f"{where}: is not JSON: {wrong}", hint=hint) from None
    return value


def read_record(value: object, record: type[_Record], *, where: str, hint: str = "") -> _Record:
    """The record of type `record` in a JSON object. Raises BundleError, naming the field, unless it fits."""
    try:
        return _record(value, record, where)
    except _MismatchError as mismatch:
        raise BundleError(str(mismatch), hint=hint) from None


def read_records(value: object, record: type[_Record], *, where: str, hint: str = "") -> tuple[_Record, ...]:
    """The records in a JSON list, each read as `read_record` does."""
    try:
        return tuple(
            _record(item, record, f"{where}[{index}]") for index, item in enumerate(_list(value, where))
        )
    except _MismatchError as mismatch:
        raise BundleError(str(mismatch), hint=hint) from None


def canonical_json(record: DataclassInstance) -> bytes:
    """A record as JSON of which equal records have equal bytes.

    Keys are sorted, there are no spaces, it is UTF-8, and one newline ends it.
    """
    plain = dataclasses.asdict(record)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def _record(value: object, record: type[_Record], where: str) -> _Record:
    if not isinstance(value, dict):
        raise _expected("an object", value, where)
    types = _field_types(record)
    if wrong := sorted(types.keys() ^ value.keys()):
        raise _MismatchError(f"{where}: the keys {', '.join(map(ascii, wrong))} are missing or unknown")
    return record(**{name: _field(value[name], types[name], f"{where}: {name}") for name in value})


@functools.cache
def _field_types(record: type[DataclassInstance]) -> dict[str, Any]:
    types = get_type_hints(record, include_extras=True)
    return {field.name: types[field.name] for field in dataclasses.fields(record)}


def _field(value: object, wanted: Any, where: str) -> object:  # noqa: ANN401 - a type, or a form of `typing`
    if get_origin(wanted) is Annotated:
        return _integer(value, wanted.__metadata__[0], where)
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)[0]
        return tuple(
            _field(item, inner, f"{where}[{index}]") for index, item in enumerate(_list(value, where))
        )
    if NoneType in get_args(wanted):
        (inner,) = (kind for kind in get_args(wanted) if kind is not NoneType)
        return None if value is None else _field(value, inner, where)
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        return _record(value, wanted, where)
    if issubclass(wanted, StrEnum):
        return _choice(value, wanted, where)
    if type(value) is not wanted:  # isinstance would take a bool for an int
        raise _expected(_IN_WORDS[wanted], value, where)
    if isinstance(value, str) and _LONE_SURROGATE.search(value):
        raise _MismatchError(f"{where}: found {value!a}, expected text that can be written as UTF-8")
    return value


def _integer(value: object, bounds: Bounds, where: str) -> int:
    if type(value) is not int:
        raise _expected(_IN_WORDS[int], value, where)
    if value < bounds.least:
        raise _MismatchError(f"{where}: found {value}, expected at least {bounds.least}")
    if value > bounds.greatest:
        raise _MismatchError(f"{where}: found more than {bounds.greatest}, expected at most that")
    return value


def _choice(value: object, choices: type[StrEnum], where: str) -> StrEnum:
    if not isinstance(value, str) or value not in set(choices):
        raise _MismatchError(f"{where}: found {value!r}, expected one of {', '.join(choices)}")
    return choices(value)


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise _expected("a list", value, where)
    return value


def _expected(wanted: str, value: object, where: str) -> _MismatchError:
    return _MismatchError(f"{where}: found {_IN_WORDS[type(value)]}, expected {wanted}")
