"""`paddock smoke` on a real stack with test weights: asked from inside and from outside, and broken."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from programs import Finished, docker, free_port, paddock, succeeded
from repository import REPOSITORY

TEXT = "every word of this was put there by a test"
STACK = ("cpu", "--backend", "llama.cpp")


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A stack that was started for these tests."""

    project: str
    port: int
    environment: dict[str, str]

    def paddock(self, *arguments: str) -> Finished:
        return paddock(*arguments, environment=self.environment)

    def smoke(self, *arguments: str) -> Finished:
        return self.paddock("smoke", *STACK, "--project", self.project, *arguments)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("smoke")
    (root / "images").mkdir()
    shutil.copytree(REPOSITORY / "compose", root / "compose")
    environment = {"PADDOCK_ROOT": str(root), "MODELS_DIR": str(root / "models")}
    stack = Running(project=f"paddock-test-smoke-{os.getpid()}", port=free_port(), environment=environment)
    succeeded(stack.paddock("models", "make-test", "paddleocr-vl-1.6", "--text", TEXT))
    try:
        succeeded(stack.paddock("up", *STACK, "--project", stack.project, "--port", str(stack.port)))
        yield stack
    finally:
        stack.paddock("down", *STACK, "--project", stack.project, "--volumes")


def test_every_task_and_both_documents_are_answered(running: Running) -> None:
    done = running.smoke("--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["model"] == "PaddleOCR-VL-1.6-0.9B"
    assert set(report["test_weights"]) == {"PP-DocLayoutV3", "PaddleOCR-VL-1.6-GGUF"}
    assert [(check["side"], check["check"]) for check in report["checks"]] == [
        *(("VLM server", task) for task in ("ocr", "table", "formula", "chart", "spotting", "seal")),
        *(("pipeline API", document) for document in ("image", "pdf")),
    ]
    for check in report["checks"]:
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
