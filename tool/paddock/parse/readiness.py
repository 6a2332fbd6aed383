"""Asking a pipeline API whether it can answer: `GET /health/ready`, which serve.py of our image adds."""

from __future__ import annotations

from dataclasses import dataclass

from paddock.jsonvalues import MalformedError, decoded, field, optional, typed
from paddock.parse.connection import Breakdown, NoAnswerError, read_url
from paddock.report import clipped

TIMEOUT = 8.0  # seconds; the API itself gives its VLM server 5

_LONGEST_WORDS = 500  # characters of what an API says of itself that are shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """Whether a stack can parse now, the model it will ask for (empty while unknown), and why not.

    `test_weights` says that its layout model reads nothing, `notice` what is to be said beside its results.
    """

    ready: bool
    model: str
    reason: str
    test_weights: bool = False
    notice: str = ""


def ask(url: str, *, timeout: float = TIMEOUT) -> Readiness:
    """Return what the pipeline API at `url` says of itself; one that does not answer is not ready.

    Needs no key. It is on this host or the engine's, so no proxy of the environment is asked. Raises nothing.
    """
    from paddock.parse.transport import Transport  # noqa: PLC0415 - loads requests; wrong arguments need none

    transport = Transport(read_url(url), proxies=False)
    try:
        with transport.send("GET", "/health/ready", timeout=timeout) as answer:
            return _read(answer.whole(), healthy=answer.status == 200)
    except NoAnswerError as failure:
        reason = _reason(url, failure, timeout)
    except MalformedError as wrong:
        reason = f"{url}/health/ready does not answer as a pipeline API of paddock does: {wrong}"
    return Readiness(ready=False, model="", reason=reason)


def _reason(url: str, failure: NoAnswerError, timeout: float) -> str:
    match failure.breakdown:
        case Breakdown.READ_TIMEOUT | Breakdown.CONNECT_TIMEOUT:
            return f"the pipeline API gave no answer within {timeout:.0f} s"
        case Breakdown.UNWANTED:
            return f"{url}/health/ready does not answer as a pipeline API of paddock does: {failure.reason}"
        case _:
            return "the pipeline API does not listen yet"


def _read(content: bytes, *, healthy: bool) -> Readiness:
    answer = typed(decoded(content), dict, "the answer")
    return Readiness(
        ready=field(answer, "ready", bool) and healthy,
        model=clipped(field(answer, "model", str), _LONGEST_WORDS),
        reason=clipped(field(answer, "reason", str), _LONGEST_WORDS),
        test_weights=bool(optional(answer, "test_weights", bool)),
        notice=clipped(optional(answer, "notice", str) or "", _LONGEST_WORDS),
    )
