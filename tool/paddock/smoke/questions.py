"""Asking a VLM server directly, from inside a container that reaches it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from paddock import process
from paddock.matrix.records import Task
from paddock.report import Reporter
from paddock.smoke.known import file, known_answers
from paddock.smoke.served import SERVED_NAME, pipeline
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
# What a model is asked that is served alone and has none of these tasks, and that it is not to think aloud
# about it (FastDeploy's documents, reasoning output).
FREE_PROMPT = "Write down the text in this picture, line by line, and nothing else."
WITHOUT_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}

# Every VLM server of ours listens there inside its container (templates/image/shared/health.sh).
SERVER_IN_ITS_CONTAINER = "http://127.0.0.1:8080/v1"

# --- the VLM server, from inside a container ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What the VLM server said: the model that it was asked for, and one record of vlm_questions.py a task."""

    model: str
    by_task: Mapping[Task, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """Asks from a container that reaches the VLM server, which `where` tells our program how to find."""

    container: str
    where: Mapping[str, Any]
    timeout: float
    prompts: Mapping[Task, str] = field(default_factory=lambda: PROMPTS)
    extra: Mapping[str, Any] = field(default_factory=dict)  # more of each request
    plain: bool = False  # with pictures of plain print

    def argv(self) -> list[str]:
        """The command that runs our program in the container."""
        return ["docker", "exec", "--interactive", self.container, "python", "-c", PROGRAM.read_text("utf-8")]

    def request(self, tasks: Sequence[Task]) -> str:
        """What the program reads."""
        questions = [
            {
                "name": task.value,
                "prompt": self.prompts[task],
                "png": base64.b64encode(
                    file(known_answers(plain=self.plain)["tasks"][task]["file"])
                ).decode(),
                # the corners of spotting are special tokens; as PaddleX asks
                "extra_body": {"skip_special_tokens": task is not Task.SPOTTING, **self.extra},
            }
            for task in tasks
        ]
        return json.dumps({**self.where, "timeout": self.timeout, "questions": questions}) + "\n"

    def ask(self, tasks: Sequence[Task], report: Reporter) -> Answers:
        """Every task's answer. Raises ProgramError when the program does not come to its end."""
        found: list[dict[str, Any]] = []
        report.say(f"{Side.VLM}: {', '.join(tasks)}, asked from inside {self.container}")
        process.stream(self.argv(), on_line=partial(_collect, found, report), stdin=self.request(tasks))
        by_name = {each["name"]: each for each in found if "name" in each}
        absent = {"seconds": 0.0, "error": "it was not asked: our program ended before"}
        model = next((str(each["model"]) for each in found if "model" in each), "")
        return Answers(model=model, by_task={task: by_name.get(task.value, absent) for task in tasks})


def questions_for(
    service: Service, container: Container, timeout: float, *, alone: bool, plain: bool
) -> Questions:
    """How a stack's VLM server is asked, from the container of `service`."""
    if not alone:
        where = {"pipeline": pipeline(service).target}
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


def _collect(found: list[dict[str, Any]], report: Reporter, line: str) -> None:
    try:
        value = json.loads(line)
    except ValueError:
        report.say(f"  {line}")
        return
    if isinstance(value, dict):
        found.append(value)
        if "name" in value:
            report.say(f"  {value['name']}: {value['seconds']:.2f} s")
