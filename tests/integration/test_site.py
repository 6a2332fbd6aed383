"""A site: the real door before workers that are real but for PaddleX: they sleep instead of reading pages."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import programs
from compose_projects import containers_of, inspected, remove_project
from programs import docker, paddock, succeeded, wait_until
from repository import REPOSITORY
from workshop import open_to_other_users, set_variables

PROJECT = f"paddock-test-site-{os.getpid()}"
UNCHECKED = ssl._create_unverified_context()  # what is trusted is compared by its fingerprint
WORKERS = """\
services:
  api: &worker
    image: ${IMAGE_PREFIX}jobs:${IMAGE_VERSION}
    command: [python, /opt/standin/worker.py, api]
    volumes:
      - %(api)s:/opt/api:ro
      - %(standins)s:/opt/standin:ro
    healthcheck:
      test: [CMD, python, /opt/api/health.py]
      interval: 1s
  vlm:
    <<: *worker
    user: "0:0" # the image is not the VLM server's, and has no place for its key
    command: [python, /opt/standin/worker.py, vlm]
    healthcheck:
      test: [CMD, "true"]
  jobs:
    profiles: [elsewhere]
  database:
    profiles: [elsewhere]
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in small letters
    body: Any

    @classmethod
    def of(cls, answer: Any) -> Answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return cls(status=answer.status, headers=headers, body=json.load(answer))


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A running site, and the files of its keys."""

    folder: Path
    keys: Path
    port: int
    metrics: int

    def compose(self, *arguments: str, **more: str) -> str:
        argv = ("docker", "compose", "--project-name", PROJECT, *arguments)
        return succeeded(programs.run(*argv, cwd=self.folder, environment=more))

    def key(self, name: str, *options: str) -> str:
        """A new key; the door knows it by the time that this returns."""
        made = succeeded(paddock("keys", "add", name, "--file", self.keys / "keys", *options)).strip()
        wait_until(lambda: self.ask("/nothing", made).status == 404, "the door to know the key", limit=10)
        return made

    def ask(self, path: str, key: str = "", **body: Any) -> Answer:
        """One request: with a body POST, else GET."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60, context=UNCHECKED) as answer:
                return Answer.of(answer)
        except urllib.error.HTTPError as refused:
            return Answer.of(refused)

    def parse(self, key: str, seconds: float = 0.01) -> Answer:
        return self.ask("/layout-parsing", key, sleep=seconds)

    def at_once(self, count: int, key: str, seconds: float) -> list[Answer]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.parse(key, seconds), range(count)))

    def workers_up(self) -> int:
        figures = (
            urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5).read().decode()
        )
        (line,) = (
            line
            for line in figures.splitlines()
            if line.startswith('haproxy_backend_active_servers{proxy="workers"}')
        )
        return int(float(line.rpartition(" ")[2]))


@pytest.fixture(scope="module")
def site(site_images: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    folder, keys = root / "stack", root / "keys"
    shutil.copytree(REPOSITORY / "compose/cpu-llama.cpp", folder)
    keys.mkdir()
    (root / "models").mkdir()
    places = {
        "api": REPOSITORY / "templates/image/api",
        "standins": REPOSITORY / "tests/integration/standins",
    }
    (folder / "workers.yaml").write_text(WORKERS % places)
    port, metrics = programs.free_port(), programs.free_port()
    set_variables(
        folder / ".env",
        API_KEYS_DIR=str(keys),
        API_PARALLEL_REQUESTS="2",
        API_PORT=str(port),
        API_REPLICAS="2",
        COMPOSE_FILE="compose.yaml:site.yaml:workers.yaml",
        DOOR_METRICS_PORT=str(metrics),
        DOOR_QUEUE="2",
        DRAIN_SECONDS="20",
        IMAGE_PREFIX=site_images,
        MODELS_DIR=str(root / "models"),
    )
    succeeded(paddock("keys", "add", "first", "--file", keys / "keys"))
    open_to_other_users(root)
    for file in keys.iterdir():
        os.chown(file, -1, 0)
    running = Site(folder=folder, keys=keys, port=port, metrics=metrics)
    try:
        running.compose("up", "--detach", "--wait")
        wait_until(lambda: running.workers_up() == 2, "two workers", limit=60)
        yield running
    finally:
        remove_project(PROJECT)


@pytest.fixture(scope="module")
def key(site: Site) -> str:
    return site.key("tests", "--per-minute", "100000")


def test_nothing_is_published_but_the_door(site: Site) -> None:
    published = {
        service: [port for port, bound in inspected(found)["NetworkSettings"]["Ports"].items() if bound]
        for service in ("api", "vlm", "door")
        for found in containers_of(PROJECT, service)
    }
    assert published == {"api": [], "vlm": [], "door": ["8080/tcp", "8405/tcp"]}


def test_the_door_is_confined(site: Site) -> None:
    (door,) = containers_of(PROJECT, "door")
    status = docker("exec", door, "cat", "/proc/1/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Uid:\t10001\t" in status
    assert inspected(door)["HostConfig"]["ReadonlyRootfs"]


def test_keys_take_effect_and_lose_it_without_a_restart(site: Site) -> None:
    (door,) = containers_of(PROJECT, "door")
    started = inspected(door)["State"]["StartedAt"]
    assert site.parse("").status == site.parse("pk_unknown").status == 401
    key = site.key("visitor")
    assert site.parse(key).status == 200
    succeeded(paddock("keys", "revoke", "visitor", "--file", site.keys / "keys"))
    wait_until(lambda: site.parse(key).status == 401, "the key to be refused", limit=10)
    assert inspected(door)["State"]["StartedAt"] == started


def test_what_a_client_is_told(site: Site, key: str) -> None:
    refused = site.parse("")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.body.keys() == {"logId", "errorCode", "errorMsg"}
    assert refused.body["errorCode"] == 401
    answered = site.parse(key)
    assert "x-pages" not in answered.headers
    assert site.ask("/metrics", key).status == site.ask("/health/live", key).status == 404
    assert site.ask("/health/ready").body["ready"] is True


def test_the_vlm_server_is_for_those_who_may(site: Site, key: str) -> None:
    assert site.ask("/v1/models", key).status == 403
    allowed = site.key("openai", "--allow", "vlm")
    answer = site.ask("/v1/models", allowed)
    assert (answer.status, answer.body) == (200, {"path": "/v1/models"})
    assert site.ask("/v1/../metrics", allowed).status == site.ask("/v1/%2e%2e/metrics", allowed).status == 404


def test_limits_of_a_key(site: Site) -> None:
    one = site.key("one", "--at-once", "1")
    answers = site.at_once(3, one, 1.0)
    assert Counter(answer.status for answer in answers) == {200: 1, 429: 2}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.headers["retry-after"] == "5"
    assert refused.body["errorMsg"] == "This key has 1 requests open, as many as it may"
    few = site.key("few", "--per-minute", "3")
    assert [site.parse(few).status for _ in range(4)] == [200, 200, 200, 429]


def test_a_full_queue_answers_at_once(site: Site, key: str) -> None:
    """Two workers work on two each, and two may wait."""
    others = [site.key(f"queue-{number}") for number in range(8)]
    began = time.monotonic()
    took: dict[int, list[float]] = {200: [], 429: []}

    def ask(of: str) -> None:
        answer = site.parse(of, 2.0)
        took[answer.status].append(time.monotonic() - began)
        assert answer.status == 200 or answer.headers["retry-after"] == "15"

    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(ask, others))
    assert (len(took[200]), len(took[429])) == (6, 2)
    assert max(took[429]) < 2.0


def test_too_large_a_body_is_not_read(site: Site, key: str) -> None:
    request = urllib.request.Request(
        f"https://127.0.0.1:{site.port}/layout-parsing",
        b"{}",
        {"Authorization": f"Bearer {key}", "Content-Length": "2147483648"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10, context=UNCHECKED)
    assert refused.value.code == 413
    assert "document above API_MAX_BYTES" in json.load(refused.value)["errorMsg"]


def test_a_worker_that_dies_takes_only_what_it_had(site: Site, key: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(site.parse, key, 4.0) for _ in range(4)]
        time.sleep(1.5)
        docker("kill", containers_of(PROJECT, "api")[0])
        ended = Counter(each.result().status for each in running)
    assert ended == {200: 2, 502: 2}, "what it had begun is sent to nobody else"
    assert {site.parse(key).status for _ in range(20)} == {200}
    docker("start", *containers_of(PROJECT, "api"))
    wait_until(lambda: site.workers_up() == 2, "two workers", limit=30)


def test_more_workers_are_found(site: Site, key: str) -> None:
    site.compose("up", "--detach", "--no-recreate", "--scale", "api=3")
    wait_until(lambda: site.workers_up() == 3, "three workers", limit=30)
    seen: set[str] = set()

    def all_seen() -> bool:
        seen.update(answer.body["worker"] for answer in site.at_once(3, key, 0.5))
        return len(seen) == 3

    wait_until(all_seen, "each worker to be given a request", limit=30)


@contextmanager
def steady_load(site: Site, key: str) -> Iterator[Counter[int]]:
    """Two clients that ask again and again, as many as one worker works on; how often each status came."""
    done, statuses = threading.Event(), Counter[int]()

    def ask() -> None:
        while not done.is_set():
            statuses[site.parse(key, 0.2).status] += 1

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_stopping_a_worker_loses_no_request(site: Site, key: str) -> None:
    with steady_load(site, key) as statuses:
        docker("stop", "--time", "20", containers_of(PROJECT, "api")[0])
        time.sleep(1)
    assert set(statuses) == {200}, statuses
    assert sum(statuses.values()) > 10


def test_the_log_has_names_and_pages_and_no_key(site: Site, key: str) -> None:
    (door,) = containers_of(PROJECT, "door")
    lines = [json.loads(line) for line in docker("logs", door).splitlines() if line.startswith("{")]
    mine = [line for line in lines if line["key"] == "tests" and line["status"] == 200]
    assert mine
    assert all(line["pages"] == 1 and line["path"] == "/layout-parsing" for line in mine)
    assert {"key", "at-once", "per-minute", "queue", "body", "vlm"} <= {line["why"] for line in lines}
    everything = site.compose("logs")
    for secret in (key, "the VLM server's own key", "pk_unknown"):
        assert secret not in everything


def test_recycling_loses_no_request(site: Site, key: str) -> None:
    """Each worker ends after 20 pages and comes back, one at a time."""
    site.compose("up", "--detach", "--wait", API_RECYCLE_PAGES="20")
    wait_until(lambda: site.workers_up() == 2, "two workers", limit=60)

    def restarts() -> list[int]:
        return [inspected(worker)["RestartCount"] for worker in containers_of(PROJECT, "api")]

    with steady_load(site, key) as statuses:
        wait_until(lambda: min(restarts()) >= 1, "each worker to be recycled", limit=120)
    assert set(statuses) == {200}, statuses
    assert sum(statuses.values()) > 40
