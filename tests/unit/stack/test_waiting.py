"""Which container failed while a stack starts, what is said about it, and how long is waited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_engine import FakeEngine, inspected
from paddock import engine
from paddock.errors import UnhealthyError, UnknownClientError
from paddock.stack import containers, waiting
from paddock.stack.folder import StackFolder
from paddock.stack.waiting import Fault, Patience, Watch, failure_of, fault_in
from pipeline_api import PipelineApi
from recording import Recorder

MakeProgram = Callable[[str, str], None]


def test_a_stack_that_loads_has_no_fault() -> None:
    loading = containers.read(inspected(State__Health={"Status": "starting", "Log": []}))
    assert fault_in([loading], {}) is None


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"State__Status": "exited", "State__ExitCode": 1}, "ended with exit status 1"),
        (
            {"State__Status": "exited", "State__ExitCode": 127, "State__Error": "no such file"},
            "ended with exit status 127: no such file",
        ),
        ({"State__Status": "dead"}, "ended with exit status 0"),
        (
            {"State__Status": "exited", "State__OOMKilled": True, "State__ExitCode": 137},
            "was ended because it ran out of memory",
        ),
        (
            {"State__Status": "restarting", "State__ExitCode": 2},
            "ended with exit status 2 and is started again",
        ),
        ({"RestartCount": 1}, "ended and is started again"),
        ({"State__Status": "paused"}, "is paused"),
        (
            {
                "State__Health": {
                    "Status": "unhealthy",
                    "Log": [{"ExitCode": 1, "Output": "it does not\nlist X\n"}],
                }
            },
            "is unhealthy: it does not list X",
        ),
    ],
)
def test_faults(changes: dict[str, Any], what: str) -> None:
    fault = fault_in([containers.read(inspected(**changes))], {})
    assert fault is not None
    assert fault.what.startswith(what)


def test_a_service_that_has_done_its_work_is_no_fault() -> None:
    policy = {"RestartPolicy": {"Name": "no"}, "PortBindings": {}}
    ended = {"Status": "exited", "ExitCode": 0, "StartedAt": "2026-01-02T03:04:05Z"}
    assert fault_in([containers.read(inspected(HostConfig=policy, State=ended))], {}) is None
    failed = fault_in([containers.read(inspected(HostConfig=policy, State={**ended, "ExitCode": 7}))], {})
    assert failed is not None
    assert failed.what == "ended with exit status 7"
    kept_alive = {**policy, "RestartPolicy": {"Name": "unless-stopped"}}
    assert fault_in([containers.read(inspected(HostConfig=kept_alive, State=ended))], {}) is not None


def test_restarts_of_an_earlier_day_are_no_fault() -> None:
    old = containers.read(inspected(RestartCount=3))
    assert fault_in([old], {old.id: 3}) is None
    assert fault_in([old], {old.id: 2}) is not None


def test_an_api_whose_vlm_server_still_loads_is_no_fault() -> None:
    labels = {"com.docker.compose.project": "p", "com.docker.compose.service": "api"}
    unhealthy = {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "the VLM server does not answer"}]}
    api = containers.read(inspected(Id="b" * 64, Config__Labels=labels, State__Health=unhealthy))
    loading = containers.read(inspected(State__Health={"Status": "starting"}))
    loaded = containers.read(inspected())
    assert fault_in([api, loading], {}) is None
    fault = fault_in([api, loaded], {})
    assert fault is not None
    assert fault.container is api


def test_the_error_shows_the_last_lines_what_they_mean_and_what_to_do(program: MakeProgram) -> None:
    program("docker", "echo 2.26.1")
    folder = StackFolder(path=Path("/srv/cpu"), name="cpu", project="other")
    ended = containers.read(inspected(State__Status="exited", State__ExitCode=2))
    lines = ["loading", "vllm serve: error: unrecognized arguments: --max-modle-len"]
    failure = failure_of(folder, Fault(container=ended, what="ended with exit status 2"), lines)
    assert failure.exit_code == 8
    assert failure.message == (
        "vlm (paddock-cpu-vlm-1): ended with exit status 2\n"
        "  | loading\n"
        "  | vllm serve: error: unrecognized arguments: --max-modle-len\n"
        "this means: the server does not know an option in its configuration, or refuses its value"
    )
    assert failure.hint == (
        "Correct vlm.yaml or vlm.conf in the stack's folder. The stack is left as it is: "
        "`(cd /srv/cpu && docker compose --project-name other logs vlm)` shows its logs, "
        "`(cd /srv/cpu && docker compose --project-name other down)` stops it."
    )


def test_a_container_that_printed_nothing(program: MakeProgram) -> None:
    program("docker", "echo 2.26.1")
    ended = containers.read(inspected(State__Status="exited", State__ExitCode=3))
    failure = failure_of(StackFolder(path=Path("/srv"), name="x"), Fault(container=ended, what="ended"), [])
    assert "(it printed nothing)" in failure.message
    assert failure.hint.startswith("the stack is left as it is: `(cd /srv && docker compose logs vlm)` shows")


# --- waiting ------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day, in a list of one; whoever sleeps moves it on."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def test_what_is_waited_for_is_said_every_five_seconds(clock: list[float], report: Recorder) -> None:
    patience = Patience(report, 20.0)
    for now in range(12):
        clock[0] = float(now)
        patience.say(f"look {now}")
    assert report.said == ["waiting 5 s: look 5", "waiting 10 s: look 10"]
    assert (patience.waited, patience.left) == (11.0, 9.0)


def watch_of(client: Any) -> Watch:
    folder = StackFolder(path=Path("/srv/cpu"), name="cpu")
    return Watch(client=client, folder=folder, project="paddock-cpu", restarts_before={})


def test_a_stack_without_an_api_is_waited_for_until_it_is_healthy(
    clock: list[float], fake_engine: FakeEngine, report: Recorder
) -> None:
    fake_engine.containers = [inspected()]
    client = engine.connect()
    assert waiting.wait(watch_of(client), report=report, timeout=10.0) == (None, "")
    assert report.said == ["paddock-cpu: up after 0 s"]
    client.close()


def test_a_stack_that_is_late(
    clock: list[float], fake_engine: FakeEngine, report: Recorder, program: MakeProgram
) -> None:
    program("docker", "echo 2.26.1")
    fake_engine.containers = [inspected(State__Health={"Status": "starting"}, Config__Tty=True)]
    client = engine.connect()
    with pytest.raises(
        UnhealthyError, match=r"vlm \(paddock-cpu-vlm-1\): is not ready after 12 s"
    ) as refused:
        waiting.wait(watch_of(client), report=report, timeout=12.0)
    assert "vlm: not healthy yet" in refused.value.message
    assert "the stack is left as it is" in refused.value.hint
    assert report.said == ["waiting 5 s: vlm (vlm starting)", "waiting 10 s: vlm (vlm starting)"]
    client.close()


def test_a_stack_that_somebody_removed(fake_engine: FakeEngine, report: Recorder) -> None:
    client = engine.connect()
    with pytest.raises(UnhealthyError, match="paddock-cpu: its containers are gone"):
        waiting.wait(watch_of(client), report=report, timeout=10.0)
    client.close()


@pytest.fixture
def api() -> Iterator[PipelineApi]:
    server = PipelineApi()
    server.readiness = {"ready": True, "model": "M", "reason": ""}
    yield server
    server.stop()


def test_an_api_that_wants_a_key_is_up_when_it_is_ready(
    api: PipelineApi, fake_engine: FakeEngine, report: Recorder, program: MakeProgram
) -> None:
    program("docker", "echo 2.26.1")
    ports = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(api.port)}]}
    labels = {"com.docker.compose.project": "paddock-cpu", "com.docker.compose.service": "api"}
    fake_engine.containers = [
        inspected(Config__Labels=labels, HostConfig__PortBindings=ports, Config__Tty=True)
    ]
    watch, refusal = watch_of(engine.connect()), (401, b"")
    api.refusal = refusal
    assert waiting.wait(watch, report=report, timeout=30.0) == (api.url, "M")
    assert "no page was sent" in report.warned[0]
    assert "--key-file FILE" in report.warned[0]
    with pytest.raises(UnknownClientError, match="does not know this API key"):
        waiting.wait(watch, report=report, timeout=30.0, key="pk_of_nobody")
    api.refusal = None
    assert waiting.wait(watch, report=report, timeout=30.0, key="pk_of_mine") == (api.url, "M")
    assert api.headers[-1]["Authorization"] == "Bearer pk_of_mine"
    watch.client.close()


# --- memory -------------------------------------------------------------------------------------------------


def oom_event(identity: str) -> dict[str, Any]:
    return {"Type": "container", "Action": "oom", "Actor": {"ID": identity}}


@pytest.mark.parametrize(
    ("changes", "lines", "what"),
    [
        (
            {"State__Status": "running", "RestartCount": 2},
            b"loading\n",
            "ran out of memory, and is started again",
        ),
        ({"State__Status": "exited", "State__ExitCode": 1}, b"Traceback\n", "because it ran out of memory"),
    ],
)
def test_out_of_memory_is_said_after_a_restart_too(
    fake_engine: FakeEngine, program: MakeProgram, changes: dict[str, Any], lines: bytes, what: str
) -> None:
    """The state of a container that was started again has forgotten it; the engine's events have not."""
    program("docker", "echo 2.26.1")
    container = inspected(Config__Tty=True, State__OOMKilled=False, **changes)
    fake_engine.containers, fake_engine.logs = [container], lines
    fake_engine.events = [oom_event(container["Id"])]
    client = engine.connect()
    with pytest.raises(UnhealthyError, match=what) as refused:
        watch_of(client).healthy()
    client.close()
    assert "vlm may use 8g of memory (VLM_MEMORY)" in refused.value.message
    assert "`paddock config set /srv/cpu VLM_MEMORY=12g`, then `paddock up /srv/cpu`" in refused.value.hint


@pytest.mark.parametrize(
    ("line", "exit_code"),
    [
        ("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}", 1),
        ("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace", 1),
        ("loading", 137),
    ],
)
def test_what_may_be_memory_names_the_limit_and_the_setting(
    program: MakeProgram, line: str, exit_code: int
) -> None:
    program("docker", "echo 2.26.1")
    ended = containers.read(inspected(State__Status="exited", State__ExitCode=exit_code))
    folder = StackFolder(path=Path("/srv/a b"), name="x", project="other")
    failure = failure_of(folder, Fault(container=ended, what="ended"), [line])
    assert "memory" in failure.message
    assert "(VLM_MEMORY)" in failure.message
    assert "`paddock config set '/srv/a b' VLM_MEMORY=12g`, then `paddock up '/srv/a b' --project other`" in (
        failure.hint
    )
    unlimited = containers.read(inspected(State__ExitCode=exit_code, HostConfig__Memory=0))
    assert "may use" not in failure_of(folder, Fault(container=unlimited, what="ended"), [line]).message
