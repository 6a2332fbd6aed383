"""The lock file: strict reading, and writers that take turns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paddock.errors import WeightsError
from paddock.matrix.records import Source
from paddock.weights import checking, lockfile
from paddock.weights.lockfile import Kind, LockedFile, LockedSet
from recording import Recorder
from weight_sources import Sets

LIMIT = 300  # seconds that another process may take on a busy machine


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": 2, "sets": {}}',
        '{"format": 1, "sets": {"a": {"kind": "real", "files": {}}}}',
        '{"format": 1, "sets": {"a": {"kind": "test", "files": {"x": {"size": "1", "sha256": ""}}}}}',
        '{"format": 1, "sets": {"a": {"kind": "test", "files": {"x": {"size": true, "sha256": ""}}}}}',
        '{"format": 1, "sets": {"a": {"kind": "test", "files": {}, "url": 1}}}',
        '{"format": 1, "sets": {"a": {"kind": "test", "files": {}, "archive": []}}}',
        '{"format": 1, "sets": {"a": {"kind": "test", "files": {}, "source": "elsewhere"}}}',
    ],
)
def test_a_lock_that_cannot_be_read_is_refused(tmp_path: Path, report: Recorder, text: str) -> None:
    (tmp_path / "models.lock.json").write_text(text)
    with pytest.raises(WeightsError, match=r"models\.lock\.json"):
        checking.inspect(tmp_path, report=report)


def spawn(*code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(code)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_processes_that_record_at_once_lose_nothing(models_dir: Path, sets: type[Sets]) -> None:
    names = [f"set{n}" for n in range(6)]
    for name in names:
        sets.write(models_dir / name, {"a": name.encode()})
    running = [
        spawn(
            "from pathlib import Path",
            "from paddock import console",
            "from paddock.weights import installing",
            f"installing.record(Path({str(models_dir)!r}), {name!r}, kind=installing.Kind.TEST,"
            " report=console.TerminalReporter())",
        )
        for name in names
    ]
    for process in running:
        said, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, said
    assert sorted(lockfile.read(models_dir)) == names


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    entry = LockedSet(
        kind=Kind.OFFICIAL,
        files={"config.json": LockedFile(size=3, sha256="a" * 64)},
        source=Source.HUGGINGFACE,
        url="https://example.invalid/m",
        revision="main",
        archive=LockedFile(size=9, sha256="b" * 64),
    )
    lockfile.put(tmp_path, "one", entry)
    lockfile.put(tmp_path, "two", LockedSet(kind=Kind.TEST, files={}))
    assert lockfile.read(tmp_path) == {"one": entry, "two": LockedSet(kind=Kind.TEST, files={})}
    lockfile.put(tmp_path, "two", None)
    assert lockfile.read(tmp_path) == {"one": entry}
