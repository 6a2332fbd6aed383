"""Asking a VLM server from inside a container: what is sent, and what comes back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.errors import ProgramError
from paddock.matrix.records import Task
from paddock.smoke.answers import Answer, NoAnswer
from paddock.smoke.known import DOCUMENTS
from paddock.smoke.questions import PROMPTS, Questions
from paddock.smoke.verdicts import READS, Verdict, judged
from recording import Recorder

FakeDocker = Callable[..., Path]

QUESTIONS = Questions(container="box", where={"pipeline": "/etc/paddock/pipeline.yaml"}, timeout=30)


def test_every_task_has_a_prompt() -> None:
    assert all(PROMPTS[task] for task in Task)


def test_the_request_and_the_answers(fake_docker: FakeDocker, report: Recorder) -> None:
    request = fake_docker(
        [
            json.dumps({"server": "http://vlm:8080/v1", "model": "M", "backend": "vllm-server"}),
            "a warning of some library",
            json.dumps({"name": "ocr", "seconds": 0.5, "answer": "A", "cut": False}),
            json.dumps({"name": "spotting", "seconds": 0.5, "error": "refused"}),
        ]
    )
    answers = QUESTIONS.ask([Task.OCR, Task.SPOTTING], report)
    assert answers.model == "M"
    assert answers.by_task == {
        Task.OCR: Answer(task=Task.OCR, seconds=0.5, text="A"),
        Task.SPOTTING: NoAnswer(task=Task.SPOTTING, seconds=0.5, reason="refused"),
    }
    assert "  a warning of some library" in report.lines
    sent = json.loads(request.read_text())
    assert (sent["pipeline"], sent["timeout"]) == ("/etc/paddock/pipeline.yaml", 30)
    assert [question["prompt"] for question in sent["questions"]] == ["OCR:", "Spotting:"]
    skips = [question["extra_body"]["skip_special_tokens"] for question in sent["questions"]]
    assert skips == [True, False]
    assert base64.b64decode(sent["questions"][0]["png"]) == (DOCUMENTS / "receipt.png").read_bytes()


def test_a_task_that_was_never_asked_is_not_passed_over(fake_docker: FakeDocker, report: Recorder) -> None:
    fake_docker([json.dumps({"server": "x", "model": "M", "backend": "b"})])
    answers = QUESTIONS.ask([Task.OCR], report)
    assert judged(answers.by_task[Task.OCR], READS).verdict is Verdict.FAILED


def test_a_container_that_cannot_run_the_questions(fake_docker: FakeDocker, report: Recorder) -> None:
    fake_docker(["ModuleNotFoundError: No module named 'openai'"], status=1)
    with pytest.raises(ProgramError, match="No module named 'openai'"):
        QUESTIONS.ask([Task.OCR], report)


def test_the_embedded_model_is_shown_one_line(fake_docker: FakeDocker, report: Recorder) -> None:
    request = fake_docker([json.dumps({"name": "ocr", "seconds": 0.5, "answer": "A", "cut": False})])
    replace(QUESTIONS, plain=True).ask([Task.OCR], report)
    (question,) = json.loads(request.read_text())["questions"]
    assert base64.b64decode(question["png"]) == (DOCUMENTS / "plain-line.png").read_bytes()
