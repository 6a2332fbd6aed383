"""The key that a client sends: the first line of a file that only its owner can read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import UsageError, quoted

_LARGEST = 4096  # bytes that are read of the file
_KEY = re.compile(r"[!-~]{8,512}")  # what a header can carry


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A key; `warning` is empty unless others on this machine can read its file."""

    key: str
    warning: str

    def __repr__(self) -> str:
        return "Sent(...)"  # no traceback or log shows it


def read(path: Path) -> Sent:
    """Return the key in a file. Raises UsageError where there is none; the message does not show it."""
    try:
        with path.open("rb") as file:
            mode, content = path.stat().st_mode, file.read(_LARGEST)
    except OSError as failure:
        raise UsageError(f"{path}: cannot be read: {failure.strerror}", hint=_HINT) from failure
    lines = content.decode("ascii", "replace").split("\n")
    key = lines[0].strip()
    if not _KEY.fullmatch(key) or any(line.strip() for line in lines[1:]):
        raise UsageError(f"{path}: found something else, expected one line with an API key", hint=_HINT)
    readable = (
        f"{path}: others on this machine can read this key: `chmod 600 {quoted(path)}`"
        if mode & 0o077
        else ""
    )
    return Sent(key=key, warning=readable)


_HINT = "write the key that `paddock keys add NAME` printed into it, for example with an editor"
