"""The file of the keys that a pipeline API accepts: names and hashes, so whoever reads it cannot use it.

    # anything behind a number sign
    sha256:<64 hexadecimal digits of the SHA-256 of the key's bytes> <name> [what it may at a door]

The API and a site's door read it whenever it changes (`keys.py` and `keyfile.py` of their images), as the
group 0, so the file keeps its group and is readable for it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paddock import durable
from paddock.errors import ConfigurationError, DataError, UsageError, quoted

MODE = 0o640
PREFIX = "pk_"

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = re.compile(rf"sha256:([0-9a-f]{{64}})[ \t]+({_NAME.pattern})((?:[ \t]+[a-z-]+=\S+)*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What a key may at a site's door. A limit that is None is the one for all, of the stack's `.env`."""

    vlm: bool = False  # ask the VLM server itself
    at_once: int | None = None  # requests that are open
    per_minute: int | None = None  # requests
    mib_per_hour: int | None = None  # of bodies

    def __str__(self) -> str:
        limits = (
            ("at-once", self.at_once),
            ("per-minute", self.per_minute),
            ("mib-per-hour", self.mib_per_hour),
        )
        words = [f"{name}={limit}" for name, limit in limits if limit is not None]
        return " ".join(["allow=vlm", *words] if self.vlm else words)


ORDINARY = Allowance()


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A line of the file; `name` is empty for a comment or an empty line."""

    line: str
    name: str
    options: str = ""  # the words behind the name


def listed(path: Path) -> tuple[Accepted, ...]:
    """Return the keys in the file, in its order.

    Raises DataError for a line that is none of a key, ConfigurationError when the file cannot be read.
    """
    return tuple(entry for entry in _read(path) if entry.name)


def add(path: Path, name: str, allowance: Allowance = ORDINARY) -> str:
    """Make a key of 32 random bytes and add its hash under `name`; returns the key, which is kept nowhere.

    The file is made where there is none. Raises UsageError for a name that is taken or is none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name}: not the name of a key, expected 1 to 64 letters, digits, or . _ -")
    key = PREFIX + secrets.token_urlsafe(32)
    with _locked(path):
        entries = _read(path) if path.exists() else ()
        if any(entry.name == name for entry in entries):
            raise UsageError(
                f"{path}: has a key named {name} already",
                hint="choose another name, or take the old key away first:"
                f" `paddock keys revoke {name} --file {quoted(path)}`",
            )
        line = f"sha256:{hashlib.sha256(key.encode()).hexdigest()} {name} {allowance}".rstrip()
        _write(path, (*entries, Accepted(line=line, name=name)))
    return key


def revoke(path: Path, name: str) -> None:
    """Take the key `name` out of the file. Raises UsageError where it has none."""
    with _locked(path):
        entries = _read(path)
        left = tuple(entry for entry in entries if entry.name != name)
        if len(left) == len(entries):
            known = ", ".join(entry.name for entry in entries if entry.name) or "no key"
            raise UsageError(f"{path}: found {known}, expected {name}")
        _write(path, left)


def _read(path: Path) -> tuple[Accepted, ...]:
    try:
        lines = path.read_bytes().decode("utf-8", "surrogateescape").splitlines()
    except OSError as failure:
        raise ConfigurationError(
            f"{path}: cannot be read: {failure.strerror}",
            hint=f"`mkdir -p {quoted(path.parent)} && paddock keys add NAME --file {quoted(path)}` makes it;"
            " API_KEYS_DIR in .env names its folder",
        ) from failure
    return tuple(_entry(path, number, line) for number, line in enumerate(lines, 1))


def _entry(path: Path, number: int, line: str) -> Accepted:
    if not line.strip() or line.startswith("#"):
        return Accepted(line=line, name="")
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise DataError(
            path,
            number,
            1,
            "found a line that is no key, expected `sha256:HEX NAME`",
            hint="take it out, or put # in front of it",
        )
    return Accepted(line=line, name=found[2], options=found[3].strip())


def _write(path: Path, entries: tuple[Accepted, ...]) -> None:
    group = path.stat().st_gid if path.exists() else None
    text = "".join(f"{entry.line}\n" for entry in entries)
    durable.write_durably(path, text.encode("utf-8", "surrogateescape"), mode=MODE, group=group)
    path.chmod(MODE)  # whatever the umask took away


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let nobody else write the file meanwhile."""
    with durable.writing(path, raising=ConfigurationError):
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            durable.lock(descriptor, waiting=lambda: None)
            yield
        finally:
            os.close(descriptor)
