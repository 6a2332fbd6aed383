"""Which documents there are: files as named, and folders with all that is below them, each file once.

What is left out is returned with its reason, and what cannot be read stands among the documents with its
error, so that nothing is lost in silence and nothing costs more than itself.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter
from pathlib import Path

from paddock.errors import PaddockError, UsageError
from paddock.parse import names
from paddock.parse.document import EXPECTED, looks_parsable, shown
from paddock.parse.results import RECORD


class Reason(StrEnum):
    """Why something in a folder is left out."""

    OTHER = "it is no document"
    LEADS_OUT = "it is a link that leads out of the folder that was named"
    SEEN = "it is a folder that is read under another name"
    HIDDEN = "its name begins with a dot"
    SPECIAL = "it is a pipe, socket or device"
    RESULT = "it is an earlier result"
    OUTPUT = "it is the folder for the results"


_COUNTED = {Reason.OTHER: "other files there", Reason.LEADS_OUT: "links that lead out of it"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One file to parse; its result goes to the folder `name`, relative to the output folder.

    `refused` is why it cannot be parsed, where that is known already.
    """

    path: Path
    name: Path
    refused: PaddockError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A file or folder in a folder that is not parsed."""

    path: Path
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """The documents that there are, and what else is in the folders."""

    inputs: tuple[Input, ...]
    left_out: tuple[LeftOut, ...]

    def left_out_as(self, reason: Reason) -> tuple[Path, ...]:
        """Return what was left out for that reason."""
        return tuple(entry.path for entry in self.left_out if entry.reason is reason)


def collect(paths: Sequence[Path], *, output: Path) -> Collected:
    """Return the documents among `paths`.

    In folders the content decides what is a document. Links are followed within the folder that was named,
    and folders behind them once: whoever may put a file into a folder of scans is not to choose what else of
    this host is sent and kept. Hidden entries, `output` and earlier results are left out. The result of a
    file is named as the file, that of a file from a folder by its path in that folder; equal names get as
    much of their paths in front as makes them distinct. Raises UsageError when nothing is left.
    """
    inputs: dict[Path, Input] = {}
    left_out: dict[Path, LeftOut] = {}
    for path in paths:
        for found in _Below(path, output) if _says(path.is_dir) else [Input(path=path, name=Path(path.name))]:
            if isinstance(found, Input):
                inputs.setdefault(_absolute(found.path), found)
            else:
                left_out.setdefault(_absolute(found.path), found)
    if not inputs:
        raise _nothing_in(paths, left_out.values())
    return Collected(inputs=tuple(_told_apart(inputs)), left_out=tuple(left_out.values()))


def _nothing_in(paths: Sequence[Path], left_out: Collection[LeftOut]) -> UsageError:
    reasons = Counter(entry.reason for entry in left_out)
    others = "".join(f" ({reasons[reason]} {what})" for reason, what in _COUNTED.items() if reasons[reason])
    return UsageError(f"{', '.join(map(shown, paths))}: found no documents{others}, {EXPECTED}")


def _told_apart(inputs: Mapping[Path, Input]) -> Iterator[Input]:
    """Yield the inputs with names of which none equals another or lies inside another."""
    sent = {path: document.name for path, document in inputs.items() if document.refused is None}
    distinct = dict(zip(sent, names.distinct(list(sent), list(sent.values())), strict=True))
    for path, document in inputs.items():
        yield replace(document, name=distinct.get(path, document.name))


def _absolute(path: Path) -> Path:
    # Not resolve(), which would call a link by the name of what it leads to.
    return Path(os.path.abspath(path))  # noqa: PTH100


class _Below:
    """What is below the folder `top`: the files of a folder sorted, then those of the folders in it.

    Folders behind links come last, and each folder once, however many links lead there, or in a circle.
    """

    def __init__(self, top: Path, output: Path) -> None:
        self._top, self._real_top = top, os.path.realpath(top)
        self._output = _identity(output)
        self._seen: set[tuple[int, int]] = set()
        self._folders, self._links = [top], deque[Path]()

    def __iter__(self) -> Iterator[Input | LeftOut]:
        while self._folders or self._links:
            folder = self._folders.pop() if self._folders else self._links.popleft()
            entries = list[os.DirEntry[str]]()
            try:
                with os.scandir(folder) as listing:
                    entries.extend(listing)
            except OSError as failure:  # it costs what was not listed yet
                error = UsageError(f"{shown(folder)}: this folder cannot be read: {failure.strerror}")
                yield Input(path=folder, name=Path(folder.name), refused=error)
            identity = _identity(folder)
            if folder != self._top and (reason := self._against_folder(identity, entries)):
                yield LeftOut(path=folder, reason=reason)
                continue
            if identity:
                self._seen.add(identity)
            yield from self._in(sorted(entries, key=attrgetter("name")))

    def _against_folder(
        self, identity: tuple[int, int] | None, entries: Sequence[os.DirEntry[str]]
    ) -> Reason | None:
        if any(entry.name == RECORD for entry in entries):
            return Reason.RESULT
        if identity and identity == self._output:
            return Reason.OUTPUT
        return Reason.SEEN if identity in self._seen else None

    def _in(self, entries: Sequence[os.DirEntry[str]]) -> Iterator[Input | LeftOut]:
        """Yield the files among the entries of a folder, and keep its folders for later."""
        folders = list[Path]()
        for entry in entries:
            path = Path(entry.path)
            if reason := self._against(entry, path):
                yield LeftOut(path=path, reason=reason)
            elif _says(entry.is_dir):
                (self._links if entry.is_symlink() else folders).append(path)
            else:
                yield Input(path=path, name=path.relative_to(self._top))
        self._folders += reversed(folders)

    def _against(self, entry: os.DirEntry[str], path: Path) -> Reason | None:
        if entry.name.startswith("."):
            return Reason.HIDDEN
        if _says(entry.is_symlink) and not self._leads_into_top(path):
            return Reason.LEADS_OUT
        if _says(entry.is_dir):
            return None
        if not _says(entry.is_file) and _identity(path):
            return Reason.SPECIAL
        return None if looks_parsable(path) else Reason.OTHER

    def _leads_into_top(self, link: Path) -> bool:
        return Path(os.path.realpath(link)).is_relative_to(self._real_top)


def _says(question: Callable[[], bool]) -> bool:
    """What the system says of an entry; no where it does not: then its turn as a file says why."""
    try:
        return question()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from all others, whatever it is called; None where it cannot be looked at."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
