"""Asking a VLM server directly, from inside a container that reaches it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddock import process
from paddock.matrix.records import Task
from paddock.report import Reporter
from paddock.smoke.answers import Answer, Answers, NoAnswer, Server, read_line
from paddock.smoke.known import known_answers
from paddock.smoke.served import SERVED_NAME, pipeline_of
from paddock.smoke.verdicts import Side
from paddock.stack.configuration import Service
from paddock.stack.containers import BACKEND, Container

TIMEOUT = 600.0  # seconds for one answer; PaddleX gives one block as much
PROGRAM = Path(__file__).parent / "vlm_questions.py"

# What PaddleX asks for each task (PaddleX 3.7.2, inference/pipelines/paddleocr_vl/pipeline.py).
PROMPTS = {
    Task.OCR: "OCR:",
    Task.TABLE: "Table Recognition:",
    Task.FORMULA: "Formula Recognition:",
    Task.CHART: "Chart Recognition:",
    Task.SPOTTING: "Spotting:",
    Task.SEAL: "Seal Recognition:",
}
# For a model that is served alone and knows none of these tasks.
FREE_PROMPT = "Write down the text in this picture, line by line, and nothing else."
# Such a model is not to think aloud first (FastDeploy's documents, reasoning output).
WITHOUT_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}

# Every VLM server of ours listens there inside its container (templates/image/shared/health.sh).
SERVER_IN_ITS_CONTAINER = "http://127.0.0.1:8080/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """Asks from a container that reaches the VLM server; `where` tells our program how to find the server."""

    container: str
    where: Mapping[str, Any]
    timeout: float
    prompts: Mapping[Task, str] = field(default_factory=lambda: PROMPTS)
    extra: Mapping[str, Any] = field(default_factory=dict)  # further fields of each request
    plain: bool = False  # ask with pictures in plain print

    def argv(self) -> list[str]:
        """The command that runs our program in the container."""
        return ["docker", "exec", "--interactive", self.container, "python", "-c", PROGRAM.read_text("utf-8")]

    def request(self, tasks: Sequence[Task]) -> str:
        """What the program reads."""
        questions = [self._question(task) for task in tasks]
        return json.dumps({**self.where, "timeout": self.timeout, "questions": questions}) + "\n"

    def _question(self, task: Task) -> dict[str, Any]:
        picture = known_answers(plain=self.plain).tasks[task].read()
        return {
            "name": task.value,
            "prompt": self.prompts[task],
            "png": base64.b64encode(picture).decode(),
            # the corners of spotting are special tokens; PaddleX asks the same way
            "extra_body": {"skip_special_tokens": task is not Task.SPOTTING, **self.extra},
        }

    def ask(self, tasks: Sequence[Task], report: Reporter) -> Answers:
        """Every task's answer. Raises ProgramError when the program fails before its end."""
        model = ""
        by_task: dict[Task, Answer | NoAnswer] = {
            task: NoAnswer(task=task, seconds=0.0, reason="it was not asked: our program ended before")
            for task in tasks
        }

        def listen(line: str) -> None:
            nonlocal model
            match read_line(line):
                case Server() as server:
                    model = server.model
                case Answer() | NoAnswer() as answer:
                    by_task[answer.task] = answer
                    report.say(f"  {answer.task}: {answer.seconds:.2f} s")
                case None:
                    report.say(f"  {line}")

        report.say(f"{Side.VLM}: {', '.join(tasks)}, asked from inside {self.container}")
        process.stream(self.argv(), on_line=listen, stdin=self.request(tasks))
        return Answers(model=model, by_task=by_task)


def questions_for(
    service: Service, container: Container, timeout: float, *, alone: bool, plain: bool
) -> Questions:
    """How a stack's VLM server is asked, from the container of `service`."""
    if not alone:
        where = {"pipeline": pipeline_of(service).target}
        return Questions(container=container.name, where=where, timeout=timeout, plain=plain)
    server = {
        "url": SERVER_IN_ITS_CONTAINER,
        "model": service.environment[SERVED_NAME],
        "backend": f"{container.labels.get(BACKEND, '')}-server",
    }
    return Questions(
        container=container.name,
        where={"server": server},
        timeout=timeout,
        prompts={Task.OCR: FREE_PROMPT},
        extra=WITHOUT_THINKING,
    )
