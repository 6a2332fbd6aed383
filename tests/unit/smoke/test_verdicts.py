"""How answers are judged, and which side is named when they are wrong."""

from __future__ import annotations

import pytest

from paddock.matrix.records import Task
from paddock.smoke.answers import Answer, NoAnswer
from paddock.smoke.known import known_answers
from paddock.smoke.verdicts import (
    LIMITS,
    NO_READING,
    READS,
    READS_PLAIN,
    Check,
    Expectation,
    Side,
    Smoke,
    Verdict,
    judged,
)

CORNERS = "".join(f"<|LOC_{n}|>" for n in range(8))


def otsl(rows: tuple[tuple[str, ...], ...]) -> str:
    return "".join("".join(f"<fcel>{cell}" for cell in row) + "<nl>" for row in rows)


def right_answer(task: Task) -> str:
    known = known_answers().tasks[task]
    if task is Task.TABLE:
        return otsl(known.cells)
    if task is Task.CHART:
        return "\n".join(" | ".join(row) for row in known.cells)
    if task is Task.SPOTTING:
        return "\n".join(line + CORNERS for line in known.text.splitlines())
    return known.text


def answer_to(task: Task, text: str, *, cut: bool = False) -> Answer:
    return Answer(task=task, seconds=1.0, text=text, cut=cut)


def test_every_task_has_a_limit() -> None:
    for task in Task:
        assert 0 < LIMITS[task] < 1


@pytest.mark.parametrize("task", list(Task))
def test_the_right_answer_passes(task: Task) -> None:
    check = judged(answer_to(task, right_answer(task)), READS)
    assert (check.side, check.name, check.verdict) == (Side.VLM, task.value, Verdict.PASSED)
    assert check.measure is not None
    assert check.measure.share == 0


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("answer", ["", "!!!!!!!!!!", "The image shows a document."])
def test_a_wrong_answer_does_not(task: Task, answer: str) -> None:
    check = judged(answer_to(task, answer), READS)
    assert check.verdict is Verdict.WRONG
    assert "at most" in check.reason


def test_a_right_answer_that_never_ends_is_wrong() -> None:
    check = judged(answer_to(Task.OCR, right_answer(Task.OCR), cut=True), READS)
    assert (check.verdict, check.reason) == (Verdict.WRONG, "the answer does not end")


def test_no_answer_is_a_failure_with_the_servers_reason() -> None:
    check = judged(NoAnswer(task=Task.OCR, seconds=1.0, reason="Connection error."), READS)
    assert (check.verdict, check.reason, check.ok) == (Verdict.FAILED, "Connection error.", False)


def test_test_weights_are_compared_with_their_text_and_say_so() -> None:
    test = Expectation(text="fixed words", layout=False)
    check = judged(answer_to(Task.OCR, "fixed words"), test)
    assert (check.verdict, check.reason, check.measure) == (Verdict.ANSWERED, NO_READING, None)
    check = judged(answer_to(Task.OCR, "something else"), test)
    assert check.verdict is Verdict.WRONG
    assert 'found "something else", expected the test text "fixed words"' in check.reason


def test_of_the_embedded_model_the_line_that_it_is_shown_is_expected() -> None:
    answer = answer_to(Task.OCR, known_answers(plain=True).tasks[Task.OCR].text)
    assert judged(answer, READS_PLAIN).ok
    assert not judged(answer, READS).ok


# --- which side ---------------------------------------------------------------------------------------------


def result(*checks: Check) -> Smoke:
    return Smoke(name="cpu", url="http://127.0.0.1:1", model="M", test_weights=(), checks=checks)


def check_of(side: Side, *, ok: bool) -> Check:
    verdict = Verdict.PASSED if ok else Verdict.WRONG
    return Check(side=side, name="ocr", verdict=verdict, seconds=1, reason="" if ok else f"the {side} is off")


@pytest.mark.parametrize(
    ("server", "pipeline", "blamed", "service"),
    [
        (False, False, "VLM server", "vlm"),
        (False, True, "VLM server", "vlm"),
        (True, False, "pipeline API", "api"),
    ],
)
def test_the_side_that_is_off(server: bool, pipeline: bool, blamed: str, service: str) -> None:
    failure = result(check_of(Side.VLM, ok=server), check_of(Side.API, ok=pipeline)).failure()
    assert failure is not None
    assert failure.message.startswith(f"cpu: {blamed}: ocr: the {blamed} is off")
    assert f"`paddock logs cpu {service}`" in failure.hint


def test_one_reason_is_told_once() -> None:
    checks = [
        Check(side=Side.VLM, name=name, verdict=Verdict.FAILED, seconds=0, reason="gone")
        for name in ("a", "b")
    ]
    failure = result(*checks).failure()
    assert failure is not None
    assert failure.message == "cpu: VLM server: a, b: gone"


def test_nothing_off() -> None:
    assert result(check_of(Side.VLM, ok=True), check_of(Side.API, ok=True)).failure() is None
