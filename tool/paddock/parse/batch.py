"""The batch: from files and folders to folders of results, several at a time, resumable, one bad file at a
time.

`collect` names what is to be parsed and where each result goes, `parse_all` does it. A document that fails
does not stop the others; an API that is gone does, because all the others would only fail too.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paddock.errors import (
    Interrupted,
    PaddockError,
    PreflightError,
    UnhealthyError,
    UnreachableError,
    UsageError,
)
from paddock.parse import results
from paddock.parse.client import Client
from paddock.parse.document import EXPECTED, inspect, looks_parsable, require_file, shown
from paddock.parse.wire import ParseOptions
from paddock.report import Reporter

DEFAULT_JOBS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One file to parse; its result goes to the folder `name`, relative to the output folder."""

    path: Path
    name: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """What was found. `ignored` counts the files in folders that are no documents."""

    inputs: tuple[Input, ...]
    ignored: int


class Status(StrEnum):
    """What became of one input."""

    DONE = "done"
    SKIPPED = "skipped"  # finished by an earlier run, from the same bytes and options
    FAILED = "failed"
    UNSENT = "unsent"  # the API was gone before its turn came


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One input's end. `pages` is set when `folder` is complete, `error` when it failed."""

    source: str
    folder: Path
    status: Status
    pages: int | None = None
    error: PaddockError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """All outcomes, in the order of the inputs."""

    outcomes: tuple[Outcome, ...]

    def of(self, status: Status) -> tuple[Outcome, ...]:
        """The outcomes with that status."""
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)

    def count(self) -> dict[str, int]:
        """How many of each status, zeros too."""
        counts = Counter(outcome.status for outcome in self.outcomes)
        return {status.value: counts[status] for status in Status}

    def failure(self) -> PaddockError | None:
        """One error for all that failed, None when nothing did.

        Its exit code is 8 when the API or its VLM server had a part in it, else 9 when a result could not be
        written, else 2: only the inputs were wrong, and trying again will not help.
        """
        errors = [outcome.error for outcome in self.outcomes if outcome.error is not None]
        if not errors:
            return None
        lines = [f"{len(errors)} of {len(self.outcomes)} failed:"]
        lines += [f"  {_blamed(outcome.source, outcome.error)}" for outcome in self.outcomes if outcome.error]
        if unsent := self.of(Status.UNSENT):
            lines.append(f"  {len(unsent)} more were not sent")
        hints = dict.fromkeys(error.hint for error in errors if error.hint)
        return _kind_of(errors)("\n".join(lines), hint="\n      ".join(hints))


def collect(paths: Sequence[Path], *, output: Path) -> Collected:
    """The documents among `paths`: files as named, folders with all that is below them, sorted, each once.

    In folders the content decides what is a document; hidden entries, `output` and earlier results are left
    out. A file's result is named as the file, one from a folder by its path in that folder; of equal names
    each gets as much of its path in front as tells them apart. Raises UsageError when nothing is left.
    """
    found: dict[Path, Input] = {}
    ignored = 0
    for path in paths:
        if not path.is_dir():
            found.setdefault(_absolute(path), Input(path=path, name=Path(path.name)))
            continue
        for inner in _walk(path, output.resolve()):
            if looks_parsable(inner):
                found.setdefault(_absolute(inner), Input(path=inner, name=inner.relative_to(path)))
            else:
                ignored += 1
    if not found:
        where = ", ".join(shown(path) for path in paths)
        others = f" ({ignored} other files there)" if ignored else ""
        raise UsageError(f"{where}: found no documents{others}, {EXPECTED}")
    return Collected(inputs=tuple(_told_apart(list(found.values()))), ignored=ignored)


def parse_all(
    inputs: Sequence[Input],
    *,
    client: Client,
    output: Path,
    options: ParseOptions,
    report: Reporter,
    force: bool = False,
    jobs: int = DEFAULT_JOBS,
) -> Summary:
    """Parse `inputs` into folders below `output`, `jobs` at a time.

    Finished ones are left alone unless `force`. Raises Interrupted after Ctrl-C: what was finished stays,
    nothing else does; PreflightError when `output` cannot be written or another run is writing to it.
    """
    with _locked(output):
        batch = _Batch(client=client, output=output, options=options, force=force)
        return batch.run(inputs, report=report, jobs=jobs)


class _Batch:
    def __init__(self, *, client: Client, output: Path, options: ParseOptions, force: bool) -> None:
        self._client, self._output, self._options, self._force = client, output, options, force
        self._gone = threading.Event()  # no use in sending more

    def run(self, inputs: Sequence[Input], *, report: Reporter, jobs: int) -> Summary:
        executor = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="parse")
        futures = [executor.submit(self._one, one) for one in inputs]
        try:
            with report.progress("parsing", total=len(inputs), unit="files") as advance:
                for _future in as_completed(futures):
                    advance(1)
        except BaseException as stopped:
            self._gone.set()
            self._client.abort()
            executor.shutdown(wait=True, cancel_futures=True)
            if isinstance(stopped, KeyboardInterrupt):
                raise _interrupted(len(inputs)) from None
            raise
        executor.shutdown()
        return Summary(outcomes=tuple(future.result() for future in futures))

    def _one(self, one: Input) -> Outcome:
        folder, source = self._output / one.name, shown(one.path)
        if self._gone.is_set():
            return Outcome(source=source, folder=folder, status=Status.UNSENT)
        try:
            return self._parse(one.path, source, folder)
        except UnreachableError as error:
            self._gone.set()
            return Outcome(source=source, folder=folder, status=Status.FAILED, error=error)
        except PaddockError as error:
            return Outcome(source=source, folder=folder, status=Status.FAILED, error=error)
        except OSError as failure:
            unwritten = PreflightError(f"{shown(folder)}: cannot be written: {failure.strerror or failure}")
            return Outcome(source=source, folder=folder, status=Status.FAILED, error=unwritten)

    def _parse(self, path: Path, source: str, folder: Path) -> Outcome:
        require_file(path)
        if not self._force:
            pages = results.finished_pages(folder, path, self._options)
            if pages is not None:
                return Outcome(source=source, folder=folder, status=Status.SKIPPED, pages=pages)
        results.require_replaceable(folder)
        parsed = self._client.parse(inspect(path), self._options)
        results.write(folder, parsed, source=source, options=self._options)
        return Outcome(source=source, folder=folder, status=Status.DONE, pages=len(parsed.pages))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would call a link by the name of what it leads to


def _walk(top: Path, output: Path) -> Iterator[Path]:
    """The regular files below `top`, sorted, and every folder that cannot be read."""
    unreadable: list[Path] = []
    for at, folders, files in os.walk(top, onerror=lambda failure: unreadable.append(Path(failure.filename))):
        here = Path(at)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and not (here / name / results.RECORD).exists()
            and (here / name).resolve() != output
        )
        yield from (
            here / name for name in sorted(files) if not name.startswith(".") and _is_file(here / name)
        )
    yield from unreadable


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # a broken link: reported when its turn comes, if its name promises a document


def _told_apart(inputs: list[Input]) -> Iterator[Input]:
    """The inputs with names of which none equals another or lies inside another."""
    depths = [len(one.name.parts) for one in inputs]
    full = [_absolute(one.path).parts[1:] for one in inputs]
    while clashing := _clashing([parts[-depth:] for parts, depth in zip(full, depths, strict=True)]):
        for index in clashing:
            depths[index] = min(depths[index] + 1, len(full[index]))
    for one, parts, depth in zip(inputs, full, depths, strict=True):
        yield Input(path=one.path, name=Path(*parts[-depth:]))


def _clashing(names: Sequence[tuple[str, ...]]) -> set[int]:
    holders: dict[tuple[str, ...], list[int]] = {}
    for index, name in enumerate(names):
        holders.setdefault(name, []).append(index)
    clashing = {index for indexes in holders.values() if len(indexes) > 1 for index in indexes}
    for index, name in enumerate(names):
        for length in range(1, len(name)):
            if outer := holders.get(name[:length]):
                clashing.update((index, *outer))
    return clashing


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Keep other runs out of `output` while this one writes there."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(output, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as failure:
        raise PreflightError(f"{shown(output)}: cannot be written: {failure.strerror}") from failure
    try:
        _lock(descriptor, output)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, output: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as busy:
        raise PreflightError(
            f"{shown(output)}: another `paddock parse` is writing there",
            hint="wait for it, or use another folder",
        ) from busy
    except OSError:
        return  # some network file systems have no locks


def _interrupted(total: int) -> Interrupted:
    return Interrupted(
        f"parse: interrupted before all {total} documents were finished",
        hint="run the same command again to go on: finished documents are not sent again",
    )


def _kind_of(errors: Sequence[PaddockError]) -> type[PaddockError]:
    for kind in (UnhealthyError, PreflightError):
        if any(isinstance(error, kind) for error in errors):
            return kind
    return UsageError


def _blamed(source: str, error: PaddockError) -> str:
    return error.message if error.message.startswith(f"{source}:") else f"{source}: {error.message}"
