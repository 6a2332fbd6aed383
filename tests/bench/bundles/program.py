"""Runs a program to its end and measures it: wall time, peak memory, peak disk of a folder's file system."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE = 0.05  # seconds between two looks at a file system


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """`seconds` of wall time; `memory` and `disk` are peaks in bytes, `disk` over what was used before."""

    seconds: float
    memory: int
    disk: int
    output: str


def run(
    argv: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, watched: Path | None = None
) -> Cost:
    """Run one program. `memory` is the largest resident size among it and its children, not their sum."""
    with tempfile.TemporaryFile() as output, _Disk(watched) as disk:
        begin = time.monotonic()
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    assert child.returncode == 0, (
        f"{shlex.join(map(str, argv))}: exit status {child.returncode}\n{text[-3000:]}"
    )
    return Cost(seconds=seconds, memory=usage.ru_maxrss * 1024, disk=disk.peak, output=text)


def shell(command: str, *, environment: Mapping[str, str] | None = None, watched: Path | None = None) -> Cost:
    """The same for a pipe; every program of it has to succeed."""
    return run(["bash", "-o", "pipefail", "-c", command], environment=environment, watched=watched)


class _Disk:
    """Samples how much of a file system is used while a block runs."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._done = threading.Event()
        self._before = _used(folder) if folder else 0
        self.peak = 0

    def __enter__(self) -> _Disk:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while self._folder is not None and not self._done.wait(SAMPLE):
            self.peak = max(self.peak, _used(self._folder) - self._before)


def _used(folder: Path) -> int:
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
