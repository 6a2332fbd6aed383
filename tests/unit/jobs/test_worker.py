"""Workers: nothing accepted is lost, whatever ends; each page once; and who waits for whom."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import worker
from failures import Away, GiveUp, Killed, Unanswered
from job_stack import JOBS, POSTGRES, Asked, JobService, PagesApi, Postgres, children, pdf, running

pytestmark = pytest.mark.needs(POSTGRES)
Both = tuple[JobService, PagesApi]
Start = Callable[..., Both]
SHORT = {"JOBS_LEASE_SECONDS": "2", "JOBS_WORKERS": "1"}  # a worker that died is known after 2 s


def test_a_killed_worker_costs_one_range(start: Start) -> None:
    service, api = start("api", "worker1", **SHORT)
    begun = threading.Event()

    def before(asked: Asked) -> bool:
        if asked.pages[0] == 5 and not begun.is_set():
            begun.set()
            time.sleep(2)
        return True

    api.before = before
    job = service.accepted(pdf(1, 12))
    assert begun.wait(60)
    service.wait_for(lambda: service.state(job)["extractProgress"]["extractedPages"] == 8)
    service.kill("worker1")
    service.start("worker2")
    assert service.ended(job)["state"] == "done"
    assert service.texts(job) == [f"page {number}" for number in range(1, 13)]
    assert {page for (_, page), calls in api.calls.items() if calls > 1} == {5, 6, 7, 8}


def test_what_kills_its_worker_fails_and_nothing_else_does(start: Start) -> None:
    service, api = start("", **SHORT)
    supervisor = service.programs[""].pid
    deaths = []

    def before(asked: Asked) -> bool:
        if asked.document == 13 and asked.pages[0] == 5:
            deaths.append(asked)
            for program in children(supervisor):
                if b"\0api\0" not in Path(f"/proc/{program}/cmdline").read_bytes():
                    os.kill(program, signal.SIGKILL)
        return True

    api.before = before
    poison = service.accepted(pdf(13, 6))
    others = [service.accepted(pdf(number, 6)) for number in range(1, 6)]
    ended = service.ended(poison, 120)
    assert ended["state"] == "failed"
    assert ended["errorMsg"] == "its worker died 3 times at pages 5 to 6 of those asked for"
    assert len(deaths) == 3
    assert [service.ended(job, 120)["state"] for job in others] == ["done"] * 5
    figures = service.ask("GET", "/metrics").text
    assert 'paddock_jobs_failures_total{kind="worker"} 1.0' in figures


def test_what_kills_the_pipeline_api_fails_with_the_third_time(start: Start) -> None:
    service, api = start("api", "worker", "solo", **SHORT)
    api.before = lambda asked: asked.reset() if (asked.document, asked.pages[0]) == (13, 1) else True
    poison, other = service.accepted(pdf(13, 5)), service.accepted(pdf(2, 5))
    assert service.ended(other)["state"] == "done"
    ended = service.ended(poison, 120)
    assert ended["errorMsg"] == "the pipeline API ended while it read these pages"
    assert api.calls[(13, 1)] == 3


def test_a_killed_database_ends_no_call(start: Start, postgres: Postgres) -> None:
    service, api = start("api", "worker", JOBS_LEASE_SECONDS="60")
    begun, going = threading.Event(), threading.Event()

    def before(_asked: Asked) -> bool:
        begun.set()
        return going.wait(60)

    api.before = before
    job = service.accepted(pdf(1, 2))
    assert begun.wait(60)
    postgres.kill()
    try:
        refused = service.submit(pdf(2, 1))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert "the database" in refused.json()["msg"]
    finally:
        postgres.start()
    service.wait_for(lambda: service.status() == 200)
    going.set()
    assert service.ended(job)["state"] == "done"
    assert set(api.calls.values()) == {1}
    assert service.ended(service.accepted(pdf(3, 1)))["state"] == "done"


def test_a_worker_that_is_asked_to_end_finishes_what_it_has(start: Start) -> None:
    service, api = start("api", "worker", **SHORT)
    begun = threading.Event()

    def before(_asked: Asked) -> bool:
        begun.set()
        time.sleep(3)
        return True

    api.before = before
    job = service.accepted(pdf(1, 1))
    assert begun.wait(60)
    service.programs["worker"].send_signal(signal.SIGTERM)
    assert service.programs["worker"].wait(30) == 0
    service.start("worker2")
    assert service.ended(job)["state"] == "done"
    assert api.calls[(1, 1)] == 1


def test_priority_is_a_head_start(start: Start) -> None:
    service, api = start("api", JOBS_WORKERS="1", JOBS_PARALLEL_PARTS="1")
    jobs = {
        name: service.accepted(pdf(at, 1), priority=name)
        for at, name in enumerate(("low", "normal", "high"), 1)
    }
    service.start("worker1")
    assert {service.ended(job)["state"] for job in jobs.values()} == {"done"}
    order = [document for document, _ in api.calls]
    assert order == [3, 2, 1]


# --- one service, which nothing ends ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Both]:
    """A service with one worker that has four slots; a page is a part."""
    settings = {"JOBS_WORKERS": "1", "JOBS_PARALLEL_PARTS": "4", "JOBS_PAGES_PER_PART": "1"}
    with running(tmp_path_factory.mktemp("jobs") / "a", postgres, "api", "worker", settings=settings) as both:
        yield both


@pytest.fixture
def calm(long_lived: Both) -> Iterator[Both]:
    """The same, with a pipeline API that answers."""
    yield long_lived
    long_lived[1].before = lambda _asked: True


def test_an_api_that_is_away_or_full_is_waited_for(calm: Both) -> None:
    service, api = calm
    answers = iter([(503, "busy"), (429, "too many")] * 3)  # more than there are tries

    def before(asked: Asked) -> bool:
        refusal = next(answers, None)
        return True if refusal is None else asked.refuse(*refusal, Retry_After="0")

    api.before = before
    job = service.accepted(pdf(1, 1))
    assert service.ended(job)["state"] == "done"
    assert api.calls[(1, 1)] == 7
    assert 'paddock_jobs_retries_total{reason="away"} 6.0' in service.ask("GET", "/metrics").text


def test_what_the_api_refuses_is_not_tried_again(calm: Both) -> None:
    service, api = calm
    api.before = lambda asked: asked.refuse(422, "useDocUnwarping: the weights are not here")
    ended = service.ended(service.accepted(pdf(2, 1)))
    assert (ended["state"], ended["errorMsg"]) == ("failed", "useDocUnwarping: the weights are not here")
    assert api.calls[(2, 1)] == 1


def test_a_document_that_is_none(calm: Both) -> None:
    service, _ = calm
    ended = service.ended(service.accepted(b"%PDF-1.7 and nothing more"))
    assert ended["errorMsg"].startswith("the PDF cannot be opened")


def test_cancelling_closes_what_runs(calm: Both) -> None:
    service, api = calm
    closed = threading.Event()

    def before(asked: Asked) -> bool:
        if asked.gone(within=30):
            closed.set()
        return False

    api.before = before
    job = service.accepted(pdf(3, 1))
    service.wait_for(lambda: api.at_once[(3, 1)] == 1)
    service.ask("POST", f"{JOBS}/{job}/cancel")
    assert closed.wait(3)  # sooner than a lease is renewed


def test_a_long_document_does_not_hold_up_a_short_one(calm: Both) -> None:
    service, api = calm

    def before(asked: Asked) -> bool:
        time.sleep(0.5)
        return True

    api.before = before
    long = service.accepted(pdf(4, 100))
    service.wait_for(lambda: api.calls[(4, 8)] > 0)
    short = [service.accepted(pdf(number, 1)) for number in range(5, 9)]
    assert {service.ended(job)["state"] for job in short} == {"done"}
    assert service.state(long)["extractProgress"]["extractedPages"] < 60
    service.ask("POST", f"{JOBS}/{long}/cancel")


@pytest.mark.parametrize(
    ("wrong", "tries", "away_for", "least", "most"),
    [
        (Unanswered("no"), 1, 0, 2, 2),
        (Unanswered("no"), 4, 0, 16, 16),
        (Unanswered("no"), 5, 0, None, None),
        (Killed("it ended", after=1), 1, 0, 2, 2),
        (GiveUp("no"), 1, 0, None, None),
        (ValueError("ours"), 2, 0, 4, 4),
        (Away("busy", after=5), 9, 0, 5, 7),
        (Away("busy", after=5), 9, 1000, 60, 80),
        (Away("busy", after=5), 9, 90_000, None, None),
    ],
)
def test_when_a_task_is_tried_again(
    wrong: Exception, tries: int, away_for: float, least: float | None, most: float | None
) -> None:
    after = worker.again(wrong, tries, away_for)
    assert (after is None) is (least is None)
    if after is not None and least is not None and most is not None:
        assert least <= float(after.removesuffix(" s")) <= most
