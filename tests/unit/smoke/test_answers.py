"""Reading the lines that our program prints inside a container."""

from __future__ import annotations

import json

import pytest

from paddock.matrix.records import Task
from paddock.smoke.answers import Answer, NoAnswer, Server, read_line


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"server": "http://vlm:8080/v1", "model": "M", "backend": "vllm-server"}, Server(model="M")),
        (
            {"name": "ocr", "seconds": 0.5, "answer": "A", "cut": False},
            Answer(task=Task.OCR, seconds=0.5, text="A"),
        ),
        (
            {"name": "ocr", "seconds": 1, "answer": "A A A", "cut": True},
            Answer(task=Task.OCR, seconds=1.0, text="A A A", cut=True),
        ),
        (
            {"name": "seal", "seconds": 0.5, "error": "refused"},
            NoAnswer(task=Task.SEAL, seconds=0.5, reason="refused"),
        ),
    ],
)
def test_records(record: dict[str, object], expected: object) -> None:
    assert read_line(json.dumps(record)) == expected


@pytest.mark.parametrize(
    "line",
    [
        "a warning of some library",
        "",
        "17",
        "null",
        "[]",
        "{}",
        '{"name": "unknown", "seconds": 1, "answer": "A", "cut": false}',
        '{"name": "ocr", "answer": "A", "cut": false}',
        '{"name": "ocr", "seconds": 1}',
    ],
)
def test_other_output(line: str) -> None:
    assert read_line(line) is None


def test_lines_that_are_made_to_hurt_are_other_output() -> None:
    assert read_line("[" * 200_000) is None
    assert read_line("1" * 5000) is None
