"""The batch: from files and folders to folders of results, several at a time; it can be resumed.

`collect` lists what is to be parsed and where each result goes, `parse_all` does it. A document that fails
does not stop the others; an API that is gone does, because all the others would only fail too.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue

from paddock import durable
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
LEADS_OUT = "it is a link that leads out of the folder that was named"


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One file to parse; its result goes to the folder `name`, relative to the output folder."""

    path: Path
    name: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """The documents that there are; `ignored` counts the other files in the folders.

    `leading_out` are links in a folder to something outside of it, which are not followed: whoever may put a
    file into a folder of scans is not to choose what else of this host is sent and kept.
    """

    inputs: tuple[Input, ...]
    ignored: int
    leading_out: tuple[Path, ...] = ()


class Status(StrEnum):
    """What became of one input."""

    DONE = "done"
    SKIPPED = "skipped"  # finished by an earlier run, from the same bytes and options
    FAILED = "failed"
    UNSENT = "unsent"  # the API was gone before its turn came


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The end of one input. `pages` is set when `folder` is complete, `error` when the input failed."""

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
        """Return the outcomes with that status."""
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)

    def count(self) -> dict[str, int]:
        """Return how many there are of each status, zeros too."""
        counts = Counter(outcome.status for outcome in self.outcomes)
        return {status.value: counts[status] for status in Status}

    def failure(self) -> PaddockError | None:
        """Return one error for all that failed, None when nothing did.

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
    """Return the documents among `paths`: files as named, folders with all that is below them, each once.

    In folders the content decides what is a document; hidden entries, `output` and earlier results are left
    out. The result of a file is named as the file, that of a file from a folder by its path in that folder;
    equal names get as much of their paths in front as makes them distinct. Raises UsageError when nothing is
    left.
    """
    inputs: dict[Path, Input] = {}
    ignored, leading_out = 0, list[Path]()
    for path in paths:
        if not path.is_dir():
            inputs.setdefault(_absolute(path), Input(path=path, name=Path(path.name)))
            continue
        for inner in _walk(path, output.resolve()):
            if inner.is_symlink() and not _leads_into(path, inner):
                leading_out.append(inner)
            elif looks_parsable(inner):
                inputs.setdefault(_absolute(inner), Input(path=inner, name=inner.relative_to(path)))
            else:
                ignored += 1
    if not inputs:
        where = ", ".join(shown(path) for path in paths)
        others = f" ({ignored} other files there)" if ignored else ""
        others += f" ({len(leading_out)} links that lead out of it)" if leading_out else ""
        raise UsageError(f"{where}: found no documents{others}, {EXPECTED}")
    return Collected(
        inputs=tuple(_with_distinct_names(list(inputs.values()))),
        ignored=ignored,
        leading_out=tuple(leading_out),
    )


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
        self._gone = threading.Event()  # the API: no use in sending more
        self._ended: SimpleQueue[None] = SimpleQueue()  # one entry for each input that has ended

    def run(self, inputs: Sequence[Input], *, report: Reporter, jobs: int) -> Summary:
        """Parse all inputs. After Ctrl-C no thread is left waiting for the API.

        Ctrl-C may come between any two steps, also while documents are handed to the pool, so all of that is
        inside the `try`. The wait is one on a SimpleQueue: `as_completed` takes locks that the threads of the
        pool need, and an interrupt in the middle of it leaves them locked for good.
        """
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not for `paddock parse --help`

        executor = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="parse")
        try:
            futures = [executor.submit(self._end, document) for document in inputs]
            with report.progress("parsing", total=len(inputs), unit="files") as advance:
                for _ in inputs:
                    self._ended.get()
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

    def _end(self, document: Input) -> Outcome:
        try:
            return self._outcome(document)
        finally:
            self._ended.put(None)

    def _outcome(self, document: Input) -> Outcome:
        folder, source = self._output / document.name, shown(document.path)
        if self._gone.is_set():
            return Outcome(source=source, folder=folder, status=Status.UNSENT)
        try:
            return self._parse(document.path, source, folder)
        except UnreachableError as error:
            self._gone.set()
            return Outcome(source=source, folder=folder, status=Status.FAILED, error=error)
        except PaddockError as error:
            return Outcome(source=source, folder=folder, status=Status.FAILED, error=error)
        except (OSError, MemoryError) as failure:
            reason = getattr(failure, "strerror", None) or str(failure) or "this host has too little memory"
            unwritten = PreflightError(f"{shown(folder)}: cannot be written: {reason}")
            return Outcome(source=source, folder=folder, status=Status.FAILED, error=unwritten)

    def _parse(self, path: Path, source: str, folder: Path) -> Outcome:
        require_file(path)
        if not self._force:
            pages = results.finished_pages(folder, path, self._options)
            if pages is not None:
                return Outcome(source=source, folder=folder, status=Status.SKIPPED, pages=pages)
        results.require_replaceable(folder)
        parsed = self._client.parse(inspect(path), self._options, spool_in=self._output)
        results.write(folder, parsed, source=source, options=self._options)
        return Outcome(source=source, folder=folder, status=Status.DONE, pages=len(parsed.pages))


def _leads_into(top: Path, link: Path) -> bool:
    """Whether a link leads to something in the folder `top`."""
    try:
        return link.resolve().is_relative_to(top.resolve())
    except (OSError, RuntimeError):  # it leads to itself: nothing is there to be sent
        return True


def _absolute(path: Path) -> Path:
    # Not resolve(), which would call a link by the name of what it leads to.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _walk(top: Path, output: Path) -> Iterator[Path]:
    """Yield the regular files below `top`, sorted, and every folder that cannot be read."""
    unreadable: list[Path] = []
    for at, folders, files in os.walk(top, onerror=lambda failure: unreadable.append(Path(failure.filename))):
        here = Path(at)
        folders[:] = sorted(name for name in folders if _is_input_folder(here / name, output))
        for name in sorted(files):
            if not name.startswith(".") and _is_file(here / name):
                yield here / name
        yield from (
            here / name
            for name in folders
            if (here / name).is_symlink() and not _leads_into(top, here / name)
        )
    yield from unreadable


def _is_input_folder(folder: Path, output: Path) -> bool:
    """Whether a folder may hold documents: not a hidden one, an earlier result or `output`."""
    if folder.name.startswith(".") or (folder / results.RECORD).exists():
        return False
    return folder.resolve() != output


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # a broken link: reported when its turn comes, if its name promises a document


def _with_distinct_names(inputs: list[Input]) -> Iterator[Input]:
    """Yield the inputs with names of which none equals another or lies inside another."""
    depths = [len(document.name.parts) for document in inputs]
    paths = [_absolute(document.path).parts[1:] for document in inputs]
    while clashing := _clashing([parts[-depth:] for parts, depth in zip(paths, depths, strict=True)]):
        for index in clashing:
            depths[index] = min(depths[index] + 1, len(paths[index]))
    for document, parts, depth in zip(inputs, paths, depths, strict=True):
        yield Input(path=document.path, name=Path(*parts[-depth:]))


def _clashing(names: Sequence[tuple[str, ...]]) -> set[int]:
    """Return the indexes of names that occur twice, or of which one lies inside the other."""
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
        durable.lock(descriptor)
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
