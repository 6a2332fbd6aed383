"""What is said of a stack by its containers and its pipeline API."""

from __future__ import annotations

from typing import Any

import pytest

from fake_engine import FakeEngine, inspected
from paddock import engine
from paddock.stack.status import status_of, status_of_all, used_memory
from stack_records import configuration, service


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({"memory_stats": {"usage": 100, "stats": {"inactive_file": 30}}}, 70),
        ({"memory_stats": {"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 30}}}, 60),
        ({"memory_stats": {"usage": 10, "stats": {"inactive_file": 30}}}, 0),
        ({"memory_stats": {}}, None),
        ({}, None),
    ],
)
def test_memory_in_use(stats: dict[str, Any], expected: int | None) -> None:
    assert used_memory(stats) == expected


def test_a_stack_without_pipeline_api_is_ready_when_it_is_healthy(fake_engine: FakeEngine) -> None:
    fake_engine.containers = [inspected()]
    client = engine.connect()
    (found,) = status_of_all(client)
    assert (found.project, found.ready, found.reason, found.url) == ("paddock-cpu", True, "", None)
    (vlm,) = found.services
    assert (vlm.memory, vlm.memory_limit) == (2 * 2**30, 8 * 2**30)
    assert vlm.labels["backend"] == "vllm"
    assert vlm.packages == {}  # this engine runs nothing
    assert status_of_all(client, project="another") == ()
    client.close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"State__Status": "exited", "State__ExitCode": 1}, "vlm is exited"),
        ({"State__Status": "restarting", "State__OOMKilled": True}, "vlm is restarting (out of memory)"),
        ({"State__Health": {"Status": "starting"}}, "vlm: not healthy"),
    ],
)
def test_why_a_stack_cannot_answer(fake_engine: FakeEngine, changes: dict[str, Any], reason: str) -> None:
    fake_engine.containers = [inspected(**changes)]
    client = engine.connect()
    (found,) = status_of_all(client)
    assert (found.ready, found.reason) == (False, reason)
    client.close()


def test_workers_of_a_site(fake_engine: FakeEngine) -> None:
    """One may be down, and how often one was renewed is no fault."""
    fake_engine.files = {f"/var/lib/workers/recycled-{'a' * 12}": b"3"}
    labels = inspected()["Config"]["Labels"] | {"com.docker.compose.service": "api"}
    running = inspected(Config__Labels=labels, RestartCount=4)
    ended = inspected(Config__Labels=labels, State__Status="exited", State__ExitCode=1, Id="b" * 64)
    fake_engine.containers = [running, ended]
    client = engine.connect()
    (found,) = status_of_all(client)
    assert found.ready
    assert sorted((worker.restarts, worker.recyclings) for worker in found.services) == [(0, 0), (4, 3)]
    fake_engine.containers = [ended]
    (found,) = status_of_all(client)
    assert (found.ready, found.reason) == (False, "api is exited")
    client.close()


def test_services_that_are_not_there(fake_engine: FakeEngine) -> None:
    stack = configuration(service("api"), service("vlm"))
    client = engine.connect()
    nothing = status_of(client, stack, folder="/srv/cpu")
    assert (nothing.ready, nothing.reason, nothing.folder) == (False, "it is not started", "/srv/cpu")
    assert [part.state for part in nothing.services] == ["absent", "absent"]
    fake_engine.containers = [inspected()]
    half = status_of(client, stack, folder="/srv/cpu")
    assert (half.ready, half.reason) == (False, "api is absent")
    client.close()


def test_memory_that_ran_out_before_a_restart(fake_engine: FakeEngine) -> None:
    container = inspected(RestartCount=1)
    fake_engine.containers = [container]
    fake_engine.events = [{"Type": "container", "Action": "oom", "Actor": {"ID": container["Id"]}}]
    client = engine.connect()
    (found,) = status_of_all(client)
    client.close()
    assert found.services[0].oom_killed
