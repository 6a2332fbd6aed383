"""What `GET /metrics` says of the jobs: from the database, so that all processes count together and a restart forgets
nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from database import Database, Row

# Counters by their name in the table `tally`: label and the values that are shown from the start.
COUNTERS = {
    "accepted": ("paddock_jobs_accepted", "Jobs that were accepted", "", ("",)),
    "jobs": ("paddock_jobs_finished", "Jobs that ended", "state", ("done", "failed", "cancelled")),
    "pages": ("paddock_jobs_pages", "Pages that were read for jobs", "", ("",)),
    "retries": (
        "paddock_jobs_retries",
        "Tasks that went back into the queue",
        "reason",
        ("api", "away", "internal", "killed", "worker"),
    ),
    "failures": (
        "paddock_jobs_failures",
        "Jobs that failed",
        "kind",
        ("api", "away", "document", "internal", "killed", "worker"),
    ),
    "webhooks": ("paddock_jobs_webhooks", "Calls of webhooks", "outcome", ("taken", "again", "failed")),
}


class _Known:
    """A collector of metrics that are known already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> list[Metric]:
        return self._metrics


async def text(jobs: Database) -> bytes:
    """All of it in Prometheus' text format; raises one of database.AWAY."""
    open_jobs = await jobs.rows(
        "SELECT state, count(*) AS number, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float AS age"
        " FROM job WHERE state IN ('pending', 'running') GROUP BY state"
    )
    open_tasks = await jobs.rows(
        "SELECT state, count(*) AS number FROM task WHERE state IN ('ready', 'leased') GROUP BY state"
    )
    counted = await jobs.rows("SELECT name, kind, value FROM tally")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Known([*_gauges(open_jobs, open_tasks), *_counters(counted)]))
    return generate_latest(registry)


def _gauges(open_jobs: list[Row], open_tasks: list[Row]) -> Iterator[Metric]:
    number = GaugeMetricFamily("paddock_jobs", "Jobs that have not ended", labels=["state"])
    age = GaugeMetricFamily(
        "paddock_jobs_oldest_age_seconds", "Since when the oldest of these jobs is there", labels=["state"]
    )
    jobs = {row["state"]: row for row in open_jobs}
    for state in ("pending", "running"):
        number.add_metric([state], jobs[state]["number"] if state in jobs else 0)
        age.add_metric([state], jobs[state]["age"] if state in jobs else 0)
    tasks = GaugeMetricFamily("paddock_jobs_tasks", "Tasks that wait, and that are worked on", labels=["state"])
    by_state = {row["state"]: row["number"] for row in open_tasks}
    for state in ("ready", "leased"):
        tasks.add_metric([state], by_state.get(state, 0))
    yield from (number, age, tasks)


def _counters(counted: list[Row]) -> Iterator[Metric]:
    values = {(row["name"], row["kind"]): row["value"] for row in counted}
    for name, (metric, description, label, kinds) in COUNTERS.items():
        family = CounterMetricFamily(metric, description, labels=[label] if label else [])
        for kind in kinds:
            family.add_metric([kind] if label else [], values.get((name, kind), 0))
        yield family
