"""When a start has failed, what is said about it, and the page that is sent."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from paddock.errors import ProgramError
from paddock.stack import configuration as configuration_stack
from paddock.stack import containers, diagnosis, launch, testpage
from paddock.stack.folder import StackFolder
from paddock.stack.waiting import Fault, failure_of, fault_in


def test_a_stack_that_loads_has_no_fault(describe) -> None:
    loading = containers.read(describe(State__Health={"Status": "starting", "Log": []}))
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
def test_faults(describe, changes, what: str) -> None:
    fault = fault_in([containers.read(describe(**changes))], {})
    assert fault is not None
    assert fault.what.startswith(what)


def test_a_service_that_has_done_its_work_is_no_fault(describe) -> None:
    policy = {"RestartPolicy": {"Name": "no"}, "PortBindings": {}}
    ended = {"Status": "exited", "ExitCode": 0, "StartedAt": "2026-01-02T03:04:05Z"}
    assert fault_in([containers.read(describe(HostConfig=policy, State=ended))], {}) is None
    failed = fault_in([containers.read(describe(HostConfig=policy, State={**ended, "ExitCode": 7}))], {})
    assert failed is not None
    assert failed.what == "ended with exit status 7"
    kept_alive = {**policy, "RestartPolicy": {"Name": "unless-stopped"}}
    assert fault_in([containers.read(describe(HostConfig=kept_alive, State=ended))], {}) is not None


def test_restarts_of_an_earlier_day_are_no_fault(describe) -> None:
    old = containers.read(describe(RestartCount=3))
    assert fault_in([old], {old.id: 3}) is None
    assert fault_in([old], {old.id: 2}) is not None


def test_an_api_whose_vlm_server_still_loads_is_no_fault(describe) -> None:
    labels = {"com.docker.compose.project": "p", "com.docker.compose.service": "api"}
    unhealthy = {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "the VLM server does not answer"}]}
    api = containers.read(describe(Id="b" * 64, Config__Labels=labels, State__Health=unhealthy))
    loading = containers.read(describe(State__Health={"Status": "starting"}))
    loaded = containers.read(describe())
    assert fault_in([api, loading], {}) is None
    fault = fault_in([api, loaded], {})
    assert fault is not None
    assert fault.container is api


def test_the_error_shows_the_last_lines_what_they_mean_and_what_to_do(describe, program) -> None:
    program("docker", "echo 2.26.1")
    folder = StackFolder(path=Path("/srv/cpu"), called="cpu", project="other")
    ended = containers.read(describe(State__Status="exited", State__ExitCode=2))
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
        "correct vlm.yaml or vlm.conf in the stack's folder. the stack is left as it is; "
        "logs: (cd /srv/cpu && docker compose --project-name other logs vlm), "
        "stop: (cd /srv/cpu && docker compose --project-name other down)"
    )


def test_a_container_that_printed_nothing(describe, program) -> None:
    program("docker", "echo 2.26.1")
    ended = containers.read(describe(State__Status="exited", State__ExitCode=3))
    failure = failure_of(StackFolder(path=Path("/srv"), called="x"), Fault(container=ended, what="ended"), [])
    assert "(it printed nothing)" in failure.message


def test_the_timeout_is_the_longest_start_period_and_some_more() -> None:
    configuration = configuration_stack.Configuration(project="p", services=())
    assert launch._timeout(configuration, None) == launch.AFTER_START_PERIOD
    assert launch._timeout(configuration, 7.0) == 7.0


def test_the_page_is_a_picture_with_something_on_it() -> None:
    picture = Image.open(io.BytesIO(testpage.png()))
    picture.load()
    assert (picture.format, picture.size, picture.mode) == ("PNG", (640, 480), "L")
    assert picture.getextrema() == (0x20, 0xFF)
    assert testpage.png() == testpage.png()


# --- what the lines mean ------------------------------------------------------------------------------------

SEEN = {
    "vllm serve: error: unrecognized arguments: --nope": "does not know an option",
    "ValueError: Model architectures ['Nope'] are not supported for now.": "does not know this kind of model",
    "OSError: [Errno 98] Address already in use": "another program listens",
    "/var/lib/paddock/vlm-api-key: no API key after 120 s; the VLM server's container": "did not write the API",
    "  Value error, Invalid repository ID or local directory specified: '/models/X'.": "weights are not where",
    "FileNotFoundError: [Errno 2] No such file or directory: '/models/X'": "a file is missing",
    "/models/G: expected exactly one .gguf file for -name *mmproj*, found: none": "a file is missing",
    "PermissionError: [Errno 13] Permission denied: '/models/X/model.safetensors'": "may not read or write a file",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:121] Cannot allocate memory": "ran out of memory",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB": "the card has too little free memory",
    "ValueError: Free memory on device (3.9/11.9 GiB) on startup is less than desired GPU memory utilization.": "the card has too little free memory",
    'could not select device driver "nvidia" with capabilities: [[gpu]]': "cannot give a container a card",
    "Error 803: system has unsupported display driver / cuda driver combination": "NVIDIA driver is too old",
    "CUDA error: the provided PTX was compiled with an unsupported toolchain.": "NVIDIA driver is too old",
    "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory": "does not find the card's",
    'vlm Error Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host': "not be pulled",
    "manifest for registry.example/a:1 not found: manifest unknown": "not be pulled",
    "OSError: [Errno 28] No space left on device": "the disk, or its tmpfs, is full",
    "the VLM server serves ['a'], the pipeline asks for b": "serves another name",
    "yaml.scanner.ScannerError: mapping values are not allowed here": "is not YAML",
}


def test_what_compose_says_is_explained_too() -> None:
    said = (
        'docker compose ended with 1\n  Error response from daemon: could not select device driver "nvidia"'
    )
    found = launch._explained(ProgramError(said))
    assert found.message.endswith("this means: this engine cannot give a container a card")
    assert "nvidia-ctk" in found.hint
    unknown = ProgramError("docker compose ended with 1\n  something else")
    assert launch._explained(unknown) is unknown


@pytest.mark.parametrize(("line", "meaning"), SEEN.items())
def test_known_causes(line: str, meaning: str) -> None:
    found = diagnosis.explain(["INFO loading", line, "Traceback (most recent call last):"], exit_code=1)
    assert found is not None
    assert meaning in found.what
    assert found.step


def test_an_unknown_cause_is_not_guessed() -> None:
    assert diagnosis.explain(["Segmentation fault"], exit_code=139) is None
    assert diagnosis.explain([], exit_code=1) is None


def test_the_kernel_knows_better_than_the_lines() -> None:
    found = diagnosis.explain(["No such file or directory"], exit_code=137, oom_killed=True)
    assert found is not None
    assert "out of memory" in found.what
    killed = diagnosis.explain(["working"], exit_code=137)
    assert killed is not None
    assert "killed from outside" in killed.what
