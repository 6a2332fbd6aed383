"""Types of fields that the strict reader checks: frozen mappings and strings with a pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class FrozenDict(dict[_Key, _Value]):
    """A dict that refuses changes; `json`, Jinja and `dataclasses.asdict` see a dict."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def _refuse(self, *_arguments: object, **_named: object) -> NoReturn:
        raise TypeError("the records of the matrix do not change")

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse


@dataclass(frozen=True, slots=True)
class Pattern:
    """Narrows a string field: `expression` must match the whole value.

    `meaning` says in words what is wanted.
    """

    expression: str
    meaning: str
