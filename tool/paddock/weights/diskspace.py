"""Room for weights on the disk, asked for before anything is written."""

from __future__ import annotations

from pathlib import Path

from paddock import durable

_HINT = "free some space, or choose another directory with --to or MODELS_DIR"


def require_room(directory: Path, size: int, what: str) -> None:
    """Raise PreflightError unless the disk of `directory` has `size` bytes free for `what`."""
    durable.require_room(directory, size, what, hint=_HINT)
