"""Jobs under kill -9: everything that was accepted ends once, and is accepted quickly."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from job_stack import JOBS, POSTGRES, Asked, JobService, PagesApi, Postgres, children, pdf, running

pytestmark = pytest.mark.needs(POSTGRES)
NUMBER, CLIENTS = 500, 4
KILL_EVERY = 10.0  # seconds
SETTINGS = {"JOBS_WORKERS": "3", "JOBS_PARALLEL_PARTS": "15"}
WITHIN = 900.0  # seconds


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A private cluster."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


class Killer:
    """Ends something at random now and then: a program, all of them, the database, the calls of the API."""

    def __init__(self, service: JobService, postgres: Postgres, api: PagesApi) -> None:
        self.killed: Counter[str] = Counter()
        self.reset = False  # whether the API ends the calls that are open
        self._service = service
        self._postgres = postgres
        self._over = threading.Event()
        self._chance = random.Random(16)
        api.before = self._answer
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _answer(self, asked: Asked) -> bool:
        end = time.monotonic() + self._chance.uniform(0.2, 1.5)
        while time.monotonic() < end:
            if self.reset:
                return asked.reset()
            time.sleep(0.05)
        return True

    def _run(self) -> None:
        while not self._over.wait(KILL_EVERY):
            what = self._chance.choice(("program", "program", "program", "all", "database", "calls"))
            self.killed[what] += 1
            supervisor = self._service.programs[""].pid
            if what == "program":
                kill(self._chance.choice(children(supervisor)))
            elif what == "all":
                programs = children(supervisor)
                self._service.kill("")
                for program in programs:
                    kill(program)
                self._service.start("")
            elif what == "database":
                self._postgres.kill()
                self._postgres.start()
            else:
                self.reset = True
                time.sleep(0.2)
                self.reset = False


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def pages_of(document: int) -> int:
    """Most documents are small, and one in five is cut."""
    return 10 if document % 5 == 0 else 2


def persist(service: JobService, document: int) -> str:
    """Submit one document until it is accepted, as a client does that knows of kill -9."""
    data = pdf(document, pages_of(document))
    while True:
        with contextlib.suppress(requests.RequestException):
            answer = service.submit(data, repeat=f"document-{document}")
            if answer.status_code == 200:
                return str(answer.json()["data"]["jobId"])
        time.sleep(0.3)


def result_of(service: JobService, job: str) -> tuple[str, list[str]]:
    """How a job ended, and the texts of its pages."""
    end = time.monotonic() + WITHIN
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException, AssertionError, KeyError):
            state = service.state(job)
            if state["state"] == "failed":
                return str(state["errorMsg"]), []
            if state["state"] == "done":
                return "done", service.texts(job)
        time.sleep(0.5)
    return "lost", []


def test_500_jobs_under_kill_9(tmp_path: Path, postgres: Postgres) -> None:
    with running(tmp_path / "jobs", postgres, "", settings=SETTINGS) as (service, api):
        begun = time.monotonic()
        killer = Killer(service, postgres, api)
        with ThreadPoolExecutor(CLIENTS) as clients:
            jobs = list(clients.map(lambda document: persist(service, document), range(1, NUMBER + 1)))
            accepted = time.monotonic() - begun
            results = list(clients.map(lambda job: result_of(service, job), jobs))
        took = time.monotonic() - begun
        killer.stop()
        service.wait_for(lambda: service.status() == 200)
        folders = Counter(path.name.partition(".")[0] for path in (service.folder / "results").iterdir())
    calls, needed = sum(api.calls.values()), sum(map(pages_of, range(1, NUMBER + 1)))
    print(
        f"\n{NUMBER} jobs in {took:.0f} s, accepted in {accepted:.0f} s; "
        f"killed: {dict(killer.killed)}; "
        f"{calls} pages asked for, {needed} needed; {len(api.twice_at_once)} twice at a time; "
        f"{sum(count - 1 for count in folders.values())} results that no job names"
    )
    assert len(set(jobs)) == NUMBER
    assert Counter(ended for ended, _ in results) == {"done": NUMBER}
    for document, (_, texts) in enumerate(results, 1):
        assert texts == [f"page {number}" for number in range(1, pages_of(document) + 1)]
    assert api.twice_at_once == []
    assert sum(killer.killed.values()) >= 5


def test_10_mb_are_accepted_quickly(tmp_path: Path, postgres: Postgres) -> None:
    document = pdf(1, 1) + b"\n%" + b"x" * 10_000_000
    with running(tmp_path / "jobs", postgres, "api") as (service, _):
        seconds = []
        for _ in range(40):
            begun = time.monotonic()
            assert service.submit(document).status_code == 200
            seconds.append(time.monotonic() - begun)
        assert len(service.get(f"{JOBS}?limit=200").json()["data"]["jobs"]) == 40
    p95 = statistics.quantiles(seconds, n=20)[-1]
    print(
        f"\nsubmission of 10 MB: median {statistics.median(seconds) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms"
    )
    assert p95 < 0.3
