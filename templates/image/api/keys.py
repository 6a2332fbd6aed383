"""Who may ask: the names and hashes of keys in a file, read again whenever it changes.

A line is `sha256:HEX NAME` and perhaps words for the door of a site, as `paddock keys add` writes it; empty lines and
lines that begin with # say nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from pathlib import Path

LINE = re.compile(r"sha256:([0-9a-f]{64})[ \t]+([A-Za-z0-9._-]{1,64})(?:[ \t]+[a-z-]+=\S+)*")
LARGEST = 1_000_000  # bytes of the file
log = logging.getLogger("uvicorn.error")


class Keys:
    """The keys of a file. One that cannot be read lets nobody in."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._names: dict[bytes, str] = {}

    def name_of(self, key: str) -> str | None:
        """The name of a key; None for one that is not listed."""
        self._read_again()
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, name in self._names.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _read_again(self) -> None:
        try:
            status = self._file.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen == self._seen:
                return
            with self._file.open("rb") as file:
                content = file.read(LARGEST)
            self._seen, self._names = seen, _parsed(content.decode("ascii", "replace"))
            log.info("keys: %s", ", ".join(sorted(self._names.values())) or "none, so nobody may ask")
        except OSError as wrong:
            if self._seen is not None or self._names:
                log.error("keys: %s cannot be read (%s), so nobody may ask", self._file, wrong.strerror)
            self._seen, self._names = None, {}


def _parsed(text: str) -> dict[bytes, str]:
    names = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if found is None:
            log.error("keys: line %d is not `sha256:HEX NAME` and is left out", number)
            continue
        names[bytes.fromhex(found[1])] = found[2]
    return names
