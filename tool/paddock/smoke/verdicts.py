"""What came of each check, and the error to end with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from paddock.errors import UnhealthyError
from paddock.matrix.records import Task
from paddock.smoke import reading
from paddock.smoke.known import known_answers
from paddock.smoke.reading import Measure

NO_READING = "test weights: reading was not checked"

# The share of errors that still passes. Chosen for clean print: a server that works is far below, one with
# the wrong weights, chat template or number format far above. They were not measured with upstream's weights.
LIMITS = {
    Task.OCR: 0.05,
    Task.TABLE: 0.10,
    Task.FORMULA: 0.25,
    Task.CHART: 0.25,
    Task.SPOTTING: 0.10,
    Task.SEAL: 0.25,
}


class Side(StrEnum):
    """Which part of a stack a check asks."""

    VLM = "VLM server"
    API = "pipeline API"


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    ANSWERED = "answered"  # as it should, but whether it can read was not checked
    WRONG = "wrong"  # an answer that is not what it should be
    FAILED = "failed"  # no answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check. `measure` None where nothing was compared; `reason` says what is off, or why nothing was
    compared.
    """

    side: Side
    name: str
    verdict: Verdict
    seconds: float
    answer: str = ""
    measure: Measure | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.verdict in (Verdict.PASSED, Verdict.ANSWERED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Smoke:
    """All checks of one stack. `left_out` says what was not asked and why; empty where all was.

    `url` is empty where no port is published; `notice` is what is to be said beside results of this model.
    """

    called: str
    url: str
    model: str
    test_weights: tuple[str, ...]
    checks: tuple[Check, ...]
    left_out: str = ""
    notice: str = ""

    def failure(self) -> UnhealthyError | None:
        """The error to end with: what is off, and on which side."""
        wrong = [each for each in self.checks if not each.ok]
        if not wrong:
            return None
        return UnhealthyError(
            f"{self.called}: {self.blamed(wrong)}: {_sentence(wrong)}", hint=self._hint(wrong)
        )

    def blamed(self, wrong: Sequence[Check]) -> str:
        """The side that is off. An API cannot read better than its VLM server, so the server is blamed for
        both.
        """
        if any(each.side is Side.VLM for each in wrong):
            return str(Side.VLM)
        return f"{Side.API}, or the VLM server behind it" if self.left_out else str(Side.API)

    def _hint(self, wrong: Sequence[Check]) -> str:
        if self.left_out:
            return "run `paddock smoke TARGET` where its engine is: it asks the VLM server directly, too"
        service = "vlm" if any(each.side is Side.VLM for each in wrong) else "api"
        return f"`paddock logs {self.called} {service}` shows what its container prints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What the answers of a stack are compared with.

    `text` is what test weights answer to everything, None where real weights read; `layout` says whether the
    layout model is a real one, so that whole pages can be compared; `plain` that only lines of plain print
    are read.
    """

    text: str | None
    layout: bool
    plain: bool = False


READS = Expectation(text=None, layout=True)
READS_PLAIN = Expectation(text=None, layout=True, plain=True)


def judged(task: Task, answer: Mapping[str, Any], expectation: Expectation) -> Check:
    check = partial(Check, side=Side.VLM, name=task.value, seconds=answer["seconds"])
    if "error" in answer:
        return check(verdict=Verdict.FAILED, reason=str(answer["error"]))
    text = str(answer["answer"])
    if expectation.text is not None:
        return check(answer=text, **of_test_weights([text], expectation.text))
    measure = measured(task, text, plain=expectation.plain)
    if answer.get("cut"):
        return check(answer=text, verdict=Verdict.WRONG, measure=measure, reason="the answer does not end")
    verdict = Verdict.PASSED if measure.ok else Verdict.WRONG
    return check(answer=text, verdict=verdict, measure=measure, reason="" if measure.ok else str(measure))


def measured(task: Task, answer: str, *, plain: bool = False) -> Measure:
    """How far an answer is from what stands on the picture of that task."""
    known, limit = known_answers(plain=plain)["tasks"][task], LIMITS[task]
    if task is Task.TABLE:
        return reading.table_cells(answer, known["cells"], limit=limit)
    if task is Task.CHART:
        return reading.chart_cells(answer, known["cells"], limit=limit)
    compare = {Task.FORMULA: reading.latex, Task.SPOTTING: reading.spotted}.get(task, reading.characters)
    return compare(answer, known["text"], limit=limit)


def of_test_weights(texts: Sequence[str], expected: str) -> dict[str, Any]:
    """Verdict and reason for answers of test weights: each must hold the constant text."""
    if all(expected in text for text in texts):
        return {"verdict": Verdict.ANSWERED, "reason": NO_READING}
    wrong = next(text for text in texts if expected not in text)
    return {
        "verdict": Verdict.WRONG,
        "reason": f'found "{clipped(wrong)}", expected the test text "{expected}"',
    }


def clipped(text: str, width: int = 60) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _sentence(wrong: Sequence[Check]) -> str:
    """What is off; checks that are off for the same reason are named together."""
    names: dict[str, list[str]] = {}
    for each in wrong:
        names.setdefault(each.reason, []).append(each.name)
    return "; ".join(f"{', '.join(together)}: {reason}" for reason, together in names.items())
