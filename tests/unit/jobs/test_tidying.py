"""What is past its time goes; what a job names stays."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path

import pytest

from blobs import Blobs
from database import Database
from job_stack import POSTGRES, Postgres
from tidying import Tidying

pytestmark = pytest.mark.needs(POSTGRES)
JOB = (
    "INSERT INTO job (id, key_name, asked_sha256, model, name, options, page_ranges, head_start, document,"
    " document_bytes, state, result, finished_at)"
    " VALUES (%s, '', '', 'm', 'n', '{}', '', '0', %s, 1, %s, %s, now() - make_interval(days => %s))"
)


def test_old_jobs_and_files_without_one(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBS_DATABASE", postgres.new_database())
    blobs = Blobs(tmp_path)
    old, new, going, gone = (str(uuid.uuid4()) for _ in range(4))
    for job in (old, new, going, gone):
        for key in (f"documents/{job}", f"parts/{job}/0.1", f"results/{job}.1/result.jsonl"):
            blobs.put(key, b"x")
            os.utime(tmp_path / key, (1, 1))
            os.utime((tmp_path / key).parent, (1, 1))
    blobs.put("documents/just-now.part", b"x")

    async def tidy() -> int:
        jobs = Database(1)
        await jobs.open()
        for job, state, days in ((old, "done", 8), (new, "done", 6), (going, "running", None)):
            result = f"results/{job}.1" if state == "done" else None
            await jobs.rows(JOB, (job, f"documents/{job}", state, result, days))
        removed = await Tidying(jobs, blobs, 7).once()
        assert [str(row["id"]) for row in await jobs.rows("SELECT id FROM job ORDER BY state")] == [
            new,
            going,
        ]
        return removed

    assert asyncio.run(tidy()) == 3 + 1 + 1 + 3  # old; parts of new; a result of going; gone
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        f"documents/{new}",
        f"results/{new}.1/result.jsonl",
        f"documents/{going}",
        f"parts/{going}/0.1",
        "documents/just-now.part",
    }
