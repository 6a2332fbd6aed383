"""The batch: documents become folders of results, several at a time; it can be resumed.

A document that fails does not stop the others; an API that is gone or a disk that is full does, because all
the others would only fail too.
"""

from __future__ import annotations

import errno
import os
import resource
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    causes,
    is_of_this_host,
    refusal,
)
from paddock.parse import document as documents
from paddock.parse import names, results
from paddock.parse.client import Client
from paddock.parse.collecting import Input
from paddock.parse.document import inspect, require_file, shown
from paddock.parse.problems import UNREADABLE, Problem, Severity
from paddock.parse.results import Result
from paddock.parse.wire import ParseOptions
from paddock.report import Reporter

DEFAULT_JOBS = 4

# Files, pipes and connections that are open at most; 13 were enough for one document at a time.
_FILES_OF_A_JOB = 8
_FILES_OF_ALL = 24  # the terminal, the output folder, the judge of files
_DISK_IS_GONE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


class Status(StrEnum):
    """What became of one input."""

    DONE = "done"
    PARTLY = "partly"  # some pages were not read; the next run sends the document again
    SKIPPED = "skipped"  # finished by an earlier run, from the same bytes and options
    FAILED = "failed"
    UNSENT = "unsent"  # the API was gone, or the disk full, before its turn came


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The end of one input: `result` where `folder` is complete, `error` where it failed, or pages of it."""

    source: str
    folder: Path
    status: Status
    result: Result | None = None
    error: PaddockError | None = None

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What may be wrong with pages that were read."""
        found = self.result.problems if self.result else ()
        return tuple(problem for problem in found if problem.severity is Severity.WARNING)


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

    def failure(self, *, strict: bool = False) -> PaddockError | None:
        """Return one error for all that failed, in whole or in part, None when nothing did.

        With `strict`, a document with warnings has failed, too. Its exit code is 8 when the API or its VLM
        server had a part in it, else 9 when this host could not read or write what it must, else 2: only the
        inputs were wrong, and trying again will not help.
        """
        failed = [(outcome, _failure_of(outcome, strict=strict)) for outcome in self.outcomes]
        errors = [error for _, error in failed if error is not None]
        if not errors:
            return None
        lines = [f"{len(errors)} of {len(self.outcomes)} failed:"]
        lines += [f"  {_blamed(outcome.source, error)}" for outcome, error in failed if error]
        if unsent := self.of(Status.UNSENT):
            lines.append(f"  {len(unsent)} more were not sent")
        hints = dict.fromkeys(error.hint for error in errors if error.hint)
        return _kind_of(errors)("\n".join(lines), hint="\n      ".join(hints))


def _failure_of(outcome: Outcome, *, strict: bool) -> PaddockError | None:
    if outcome.error is None and strict and outcome.warnings:
        return UnhealthyError(f"{outcome.source}: {counted(outcome.warnings)}")
    return outcome.error


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
        return batch.run(_placed(inputs, output), report=report, jobs=_affordable(jobs, report))


def _placed(inputs: Sequence[Input], output: Path) -> Sequence[Input]:
    """The inputs; those whose result would take the place of another's on this disk are refused."""
    try:
        taken = names.taken([document.name for document in inputs], output)
    except OSError as refused:
        raise refusal(refused, shown(output)) from refused
    if not taken:
        return inputs
    return [_refused(one, output) if index in taken else one for index, one in enumerate(inputs)]


def _refused(document: Input, output: Path) -> Input:
    what = f"the disk of {shown(output)} does not tell its name from that of another file"
    hint = "rename one of the two, or choose another folder for it with -o"
    error = UsageError(f"{shown(document.path)}: its result would take another's place: {what}", hint=hint)
    return replace(document, refused=error)


def _affordable(jobs: int, report: Reporter) -> int:
    """As many documents at a time as this process may open files for: `jobs` at most, and one at least."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # Linux has no infinite one of these
    wanted = _FILES_OF_ALL + jobs * _FILES_OF_A_JOB
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = max((soft - _FILES_OF_ALL) // _FILES_OF_A_JOB, 1)
    if possible < jobs:
        report.warn(
            f"--jobs {possible}, not {jobs}: this process may open {soft} files at most (`ulimit -n`)"
        )
    return min(jobs, possible)


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
            documents.abort()
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
            return self._parse(document, source, folder)
        except PaddockError as failure:
            error = _shortage(failure, source) or failure
            if isinstance(error, UnreachableError):
                self._gone.set()
        except MemoryError:
            error = PreflightError(f"{source}: this host has too little memory", hint="lower --jobs")
        except OSError as refused:
            error = refusal(refused, shown(folder))
            if refused.errno in _DISK_IS_GONE:
                self._gone.set()
        return Outcome(source=source, folder=folder, status=Status.FAILED, error=error)

    def _parse(self, found: Input, source: str, folder: Path) -> Outcome:
        if found.refused is not None:
            raise found.refused
        require_file(found.path)
        if not self._force and (there := results.finished(folder, found.path, self._options)):
            return Outcome(source=source, folder=folder, status=Status.SKIPPED, result=there)
        results.require_replaceable(folder)
        document = inspect(found.path)
        parsed = self._client.parse(document, self._options, spool_in=self._output)
        result = results.write(folder, parsed, document=document, options=self._options)
        error = _failed_in_part(source, result)
        status = Status.DONE if error is None else Status.PARTLY
        return Outcome(source=source, folder=folder, status=status, result=result, error=error)


def _shortage(failure: PaddockError, source: str) -> PaddockError | None:
    """The error of a document that failed because this host has no more of something; None for any other."""
    for cause in causes(failure):
        if isinstance(cause, OSError) and is_of_this_host(cause):
            return refusal(cause, source)
    return None


def _failed_in_part(source: str, result: Result) -> PaddockError | None:
    failed = [problem for problem in result.problems if problem.severity is Severity.FAILED]
    if not failed:
        return None
    what = f"{source}: {result.failed_pages} of {result.pages} pages were not read: {counted(failed)}"
    if all(problem.kind == UNREADABLE for problem in failed):
        return UsageError(what, hint="mend these pages, or export the document anew")
    return UnhealthyError(what, hint="`paddock logs TARGET` says why; the same command sends it again")


def counted(problems: Sequence[Problem]) -> str:
    """The first of some problems, and how many more there are, on one line."""
    others = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
    return f"{problems[0]}{others}"


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Keep other runs out of `output` while this one writes there."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            descriptor = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as refused:
        raise refusal(refused, shown(output)) from refused
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
