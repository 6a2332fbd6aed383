"""`paddock smoke` on a real stack: llama-server with test weights, asked from inside and from outside, and
broken.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from repository import REPOSITORY

PADDOCK = [sys.executable, "-m", "paddock"]
LIMIT = 900  # seconds
TEXT = "every word of this was put there by a test"
STACK = ("cpu", "--backend", "llama.cpp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A stack that was started for these tests."""

    project: str
    port: int
    environment: dict[str, str]

    def paddock(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PADDOCK, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def smoke(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.paddock("smoke", *STACK, "--project", self.project, *arguments)


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=True, timeout=300
    ).stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("smoke")
    (root / "images").mkdir()
    shutil.copytree(REPOSITORY / "compose", root / "compose")
    environment = {"PADDOCK_ROOT": str(root), "MODELS_DIR": str(root / "models")}
    stack = Running(project=f"paddock-test-smoke-{os.getpid()}", port=free_port(), environment=environment)
    made = stack.paddock("models", "make-test", "paddleocr-vl-1.6", "--text", TEXT)
    assert made.returncode == 0, made.stderr
    started = stack.paddock("up", *STACK, "--project", stack.project, "--port", str(stack.port))
    try:
        assert started.returncode == 0, started.stderr
        yield stack
    finally:
        stack.paddock("down", *STACK, "--project", stack.project, "--volumes")


def test_every_task_and_both_documents_are_answered(running: Running) -> None:
    done = running.smoke("--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert found["model"] == "PaddleOCR-VL-1.6-0.9B"
    assert set(found["test_weights"]) == {"PP-DocLayoutV3", "PaddleOCR-VL-1.6-GGUF"}
    assert [(check["side"], check["check"]) for check in found["checks"]] == [
        *(("VLM server", task) for task in ("ocr", "table", "formula", "chart", "spotting", "seal")),
        *(("pipeline API", document) for document in ("image", "pdf")),
    ]
    for check in found["checks"]:
        assert check["result"] == "answered"
        assert TEXT in check["answer"]
        assert check["reason"] == "test weights: reading was not checked"
        assert check["seconds"] > 0


def test_a_person_is_told_that_reading_was_not_checked(running: Running) -> None:
    done = running.smoke()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "test weights: reading was not checked"


def test_from_outside_weights_of_an_unusual_text_cannot_be_told_from_a_model_that_reads_nonsense(
    running: Running,
) -> None:
    done = running.paddock("smoke", f"http://127.0.0.1:{running.port}")
    assert done.returncode == 8
    assert "the VLM server was not asked directly" in done.stderr
    assert "of the words wrong" in done.stderr
    assert "pipeline API, or the VLM server behind it" in done.stderr


def test_without_its_vlm_server_that_side_is_named(running: Running) -> None:
    container = f"{running.project}-vlm-1"
    docker("stop", "--time", "1", container)
    try:
        done = running.smoke("--json", "--timeout", "60")
    finally:
        docker("start", container)
    assert done.returncode == 8
    assert {check["result"] for check in json.loads(done.stdout)["checks"]} == {"failed"}
    assert (
        "error: cpu-llama.cpp: VLM server: ocr, table, formula, chart, spotting, seal: Connection error."
        in done.stderr
    )


def test_a_stack_that_does_not_run(running: Running) -> None:
    done = running.paddock("smoke", *STACK, "--project", f"{running.project}-other")
    assert done.returncode == 8
    assert "its pipeline API does not run" in done.stderr
