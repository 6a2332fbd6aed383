"""JSON that another program wrote: values of the type that is due, or an error that names the wrong one.

Readers build their records from these at the place where the JSON comes in, so that no mapping travels on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")


class MalformedError(Exception):
    """A value is missing or of another type. The text reads `<where>: found <type>, expected <type>`."""


def decoded(text: bytes | str) -> object:
    """Return the value that a JSON text holds; raise MalformedError for what is none, or is too deep."""
    try:
        value: object = json.loads(text)
    except ValueError as wrong:
        raise MalformedError(f"not JSON: {wrong}") from wrong
    except RecursionError:
        raise MalformedError("found too many values inside each other") from None
    return value


def typed(value: object, kind: type[_T], where: str) -> _T:
    """Return `value` if it is a `kind`, else raise MalformedError; true and false are not integers."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise MalformedError(f"{where}: found {type(value).__name__}, expected {kind.__name__}")
    return value


def field(holder: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    """Return the value of `key`, which must be there."""
    return typed(holder.get(key), kind, key)


def optional(holder: Mapping[str, Any], key: str, kind: type[_T]) -> _T | None:
    """Return the value of `key`, or None where it is absent or null."""
    value = holder.get(key)
    return None if value is None else typed(value, kind, key)
