"""The verdict on each check, and the error to end with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from paddock.errors import UnhealthyError
from paddock.matrix.records import Task
from paddock.report import clipped
from paddock.smoke import reading
from paddock.smoke.answers import Answer, NoAnswer
from paddock.smoke.known import known_answers
from paddock.smoke.reading import Measure

NO_READING = "test weights: reading was not checked"

_SHOWN = 60  # characters of a wrong answer

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
    """How a check ended."""

    PASSED = "passed"
    ANSWERED = "answered"  # as it should, but whether it can read was not checked
    WRONG = "wrong"  # an answer that is not what it should be
    FAILED = "failed"  # no answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a comparison came to.

    `measure` is None where nothing was compared; `reason` says what is wrong, or why nothing was compared.
    """

    verdict: Verdict
    measure: Measure | None = None
    reason: str = ""

    @classmethod
    def of(cls, measure: Measure) -> Outcome:
        """Passed or wrong, by the share of errors."""
        if measure.ok:
            return cls(verdict=Verdict.PASSED, measure=measure)
        return cls(verdict=Verdict.WRONG, measure=measure, reason=str(measure))


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check: what was asked of which side, the answer, and what it came to (see Outcome)."""

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


def checked(side: Side, name: str, outcome: Outcome, *, seconds: float, answer: str = "") -> Check:
    """The check of one answer, once it is known what it came to."""
    return Check(
        side=side,
        name=name,
        verdict=outcome.verdict,
        seconds=seconds,
        answer=answer,
        measure=outcome.measure,
        reason=outcome.reason,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Smoke:
    """All checks of one stack; `name` is its name, or the URL that was asked.

    `url` is empty where no port is published. `left_out` says what was not asked and why; it is empty where
    everything was. `notice` is what is to be said beside the results of this model.
    """

    name: str
    url: str
    model: str
    test_weights: tuple[str, ...]
    checks: tuple[Check, ...]
    left_out: str = ""
    notice: str = ""

    def failure(self) -> UnhealthyError | None:
        """The error to end with: what is wrong, and on which side. None where all is as it should be."""
        wrong = [check for check in self.checks if not check.ok]
        if not wrong:
            return None
        vlm = any(check.side is Side.VLM for check in wrong)
        return UnhealthyError(
            f"{self.name}: {self._blamed(vlm=vlm)}: {_reasons(wrong)}", hint=self._hint(vlm=vlm)
        )

    def _blamed(self, *, vlm: bool) -> str:
        """The side at fault: an API cannot read better than its VLM server, so that one answers for both."""
        if vlm:
            return str(Side.VLM)
        return f"{Side.API}, or the VLM server behind it" if self.left_out else str(Side.API)

    def _hint(self, *, vlm: bool) -> str:
        if self.left_out:
            return "run `paddock smoke TARGET` beside its engine: that asks the VLM server directly, too"
        return f"`paddock logs {self.name} {'vlm' if vlm else 'api'}` shows what its container prints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What the answers of a stack are compared with.

    `text` is what test weights answer to everything, None where real weights read. `layout` says whether the
    layout model is a real one, so that whole pages can be compared; `plain`, that the model reads lines of
    plain print only.
    """

    text: str | None
    layout: bool
    plain: bool = False


READS = Expectation(text=None, layout=True)
READS_PLAIN = Expectation(text=None, layout=True, plain=True)


def judged(answer: Answer | NoAnswer, expectation: Expectation) -> Check:
    """The check of what a VLM server answered to one task."""
    if isinstance(answer, NoAnswer):
        outcome = Outcome(verdict=Verdict.FAILED, reason=answer.reason)
        return checked(Side.VLM, answer.task.value, outcome, seconds=answer.seconds)
    outcome = _outcome(answer, expectation)
    return checked(Side.VLM, answer.task.value, outcome, seconds=answer.seconds, answer=answer.text)


def _outcome(answer: Answer, expectation: Expectation) -> Outcome:
    if expectation.text is not None:
        return outcome_of_test_weights([answer.text], expectation.text)
    measure = measured(answer.task, answer.text, plain=expectation.plain)
    if answer.cut:
        return Outcome(verdict=Verdict.WRONG, measure=measure, reason="the answer does not end")
    return Outcome.of(measure)


def measured(task: Task, answer: str, *, plain: bool = False) -> Measure:
    """How far an answer is from what stands on the picture for that task."""
    known, limit = known_answers(plain=plain).tasks[task], LIMITS[task]
    match task:
        case Task.TABLE:
            return reading.table_cells(answer, known.cells, limit=limit)
        case Task.CHART:
            return reading.chart_cells(answer, known.cells, limit=limit)
        case Task.FORMULA:
            return reading.latex(answer, known.text, limit=limit)
        case Task.SPOTTING:
            return reading.spotted(answer, known.text, limit=limit)
        case Task.OCR | Task.SEAL:
            return reading.characters(answer, known.text, limit=limit)


def outcome_of_test_weights(texts: Sequence[str], expected: str) -> Outcome:
    """What answers of test weights come to: each must contain the constant text."""
    for text in texts:
        if expected not in text:
            reason = f'found "{clipped(text, _SHOWN)}", expected the test text "{expected}"'
            return Outcome(verdict=Verdict.WRONG, reason=reason)
    return Outcome(verdict=Verdict.ANSWERED, reason=NO_READING)


def _reasons(wrong: Sequence[Check]) -> str:
    """What is wrong; checks with the same reason are named together."""
    names: dict[str, list[str]] = {}
    for check in wrong:
        names.setdefault(check.reason, []).append(check.name)
    return "; ".join(f"{', '.join(together)}: {reason}" for reason, together in names.items())
