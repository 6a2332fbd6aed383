"""Names that nothing has, and the known one that somebody probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from paddock.errors import UsageError


def unknown(kind: str, name: str, known: Collection[str]) -> UsageError:
    """The error to raise for the name of a `kind` that is not among the known ones."""
    question = did_you_mean(name, known)
    message = f'unknown {kind} "{name}"' + (f": {question}" if question else "")
    return UsageError(message, hint=f"known: {', '.join(known)}")


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """The question after the known name that is most like a wrong one; empty where none is close."""
    matches = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f'did you mean "{matches[0]}"?' if matches else ""
