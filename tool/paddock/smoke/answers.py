"""What vlm_questions.py prints in lines of JSON: the server that it asks, and an answer to each question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paddock.jsonvalues import MalformedError, decoded
from paddock.matrix.records import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The server that is asked, by the model that it is asked for."""

    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a VLM server answered. `cut` says that it did not come to an end by itself."""

    task: Task
    seconds: float
    text: str
    cut: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NoAnswer:
    """A question that a VLM server did not answer, and why."""

    task: Task
    seconds: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What a VLM server said to each task. `model` is the one that it was asked for; empty where unknown."""

    model: str
    by_task: Mapping[Task, Answer | NoAnswer]


def read_line(line: str) -> Server | Answer | NoAnswer | None:
    """The record in a line that the program printed; None for other output, such as a library's warning."""
    try:
        record: Any = decoded(line)
        if "model" in record:
            return Server(model=str(record["model"]))
        task, seconds = Task(record["name"]), float(record["seconds"])
        if "error" in record:
            return NoAnswer(task=task, seconds=seconds, reason=str(record["error"]))
        return Answer(task=task, seconds=seconds, text=str(record["answer"]), cut=record["cut"] is True)
    except (MalformedError, ValueError, TypeError, KeyError):
        return None
