"""Jobs in their containers: what was accepted survives kill -9 of each; a full disk keeps nothing half."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

import programs
from compose_projects import containers_of, remove_project
from job_stack import JOBS, JobService, pdf
from programs import docker, succeeded
from repository import REPOSITORY
from workshop import open_to_other_users, set_variables

PROJECT = f"paddock-test-jobs-{os.getpid()}"
DISK = "12m"
# The stack of a site without its door, and with a pipeline API that looks at the sizes of pages only.
OVERRIDE = """\
services:
  api:
    image: ${IMAGE_PREFIX}jobs:${IMAGE_VERSION}
    command: [python, /opt/standin/pages_api.py]
    volumes:
      - %s:/opt/standin:ro
      - jobs:/held # a file system in memory lasts while a container holds it
    healthcheck:
      test: [CMD, "true"]
      interval: 1s
  jobs:
    ports: ["127.0.0.1:${API_PORT}:8080"]
    environment:
      API_KEYS: ""
      JOBS_LEASE_SECONDS: "4"
  door:
    profiles: [elsewhere]
volumes:
  jobs:
    driver_opts:
      type: tmpfs
      device: tmpfs
      o: uid=10001,gid=0,mode=2770,size=%s
"""


@pytest.fixture(scope="module")
def service(site_images: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobService]:
    """The containers `jobs`, `database` and a stand-in of `api`."""
    root = tmp_path_factory.mktemp("jobs")
    folder = root / "stack"
    shutil.copytree(REPOSITORY / "compose/cpu", folder)
    (folder / "jobs.yaml").write_text(OVERRIDE % (REPOSITORY / "tests/integration/standins", DISK))
    (root / "keys").mkdir()
    (root / "models").mkdir()
    made = JobService(root / "unused", "", "")
    set_variables(
        folder / ".env",
        API_KEYS_DIR=str(root / "keys"),
        API_PORT=str(made.port),
        API_REPLICAS="1",
        COMPOSE_FILE="compose.yaml:site.yaml:jobs.yaml",
        IMAGE_PREFIX=site_images,
        MODELS_DIR=str(root / "models"),
    )
    open_to_other_users(root)
    argv = ("docker", "compose", "--project-name", PROJECT, "up", "--detach", "--no-deps", "--wait")
    try:
        for names in (("database", "api"), ("jobs",)):
            succeeded(programs.run(*argv, *names, cwd=folder))
        yield made
    finally:
        remove_project(PROJECT)


def test_what_was_accepted_survives_kill_9_of_each_container(service: JobService) -> None:
    jobs = [service.accepted(pdf(document, 10)) for document in range(1, 7)]
    for name in ("jobs", "database", "api"):
        (container,) = containers_of(PROJECT, name)
        docker("kill", container)
        docker("start", container)
        service.wait_for(lambda: service.status() == 200)
    ended = [service.ended(job) for job in jobs]
    assert [(job["state"], job.get("errorMsg")) for job in ended] == [("done", None)] * len(jobs)
    for job in jobs:
        assert service.texts(job) == [f"page {number}" for number in range(1, 11)]
    assert stored("documents") == sorted(jobs)


def test_a_full_disk_keeps_nothing_half(service: JobService) -> None:
    before = stored("documents")
    large = pdf(9, 1) + b"\n%" + os.urandom(11_000_000)
    refused = service.submit(large)
    assert (refused.status_code, refused.json()["code"]) == (507, 507)
    assert refused.json()["msg"] == "the disk for documents is full: nothing was kept of this one"
    assert stored("documents") == before
    job = service.accepted(pdf(10, 1))
    assert service.ended(job)["state"] == "done"
    assert service.ask("DELETE", f"{JOBS}/{job}").status_code == 200
    assert stored("documents") == before


def test_the_password_is_no_argument_and_in_no_log(service: JobService) -> None:
    (jobs,), (database,) = containers_of(PROJECT, "jobs"), containers_of(PROJECT, "database")
    password = docker("exec", jobs, "cat", "/var/lib/paddock/database/key").strip()
    assert len(password) == 64
    for container in (jobs, database):
        logs = programs.run("docker", "logs", container)
        said = logs.stdout + logs.stderr + docker("inspect", container) + docker("top", container)
        assert password not in said


def stored(folder: str) -> list[str]:
    """What the service keeps in a folder of its volume."""
    (container,) = containers_of(PROJECT, "jobs")
    return sorted(docker("exec", container, "ls", f"/var/lib/paddock/jobs/{folder}").split())
