"""Asking a pipeline API whether it can answer: `GET /health/ready`, which serve.py of our image adds."""

from __future__ import annotations

import json
from dataclasses import dataclass

from paddock.jsonvalues import MalformedError, field, optional, typed

TIMEOUT = 8.0  # seconds; the API itself gives its VLM server 5


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

    Raises nothing.
    """
    import requests  # noqa: PLC0415 - slow to import, and commands that only refuse their arguments do without

    with requests.Session() as session:
        session.trust_env = False  # it is on this host or the engine's; proxies are for the world outside
        try:
            answer = session.get(f"{url}/health/ready", timeout=timeout)
            return _read(answer.content, healthy=answer.status_code == 200)
        except requests.ConnectionError:
            reason = "the pipeline API does not listen yet"
        except requests.Timeout:
            reason = f"the pipeline API gave no answer within {timeout:.0f} s"
        except (requests.RequestException, ValueError, MalformedError) as wrong:
            reason = f"{url}/health/ready does not answer as a pipeline API of paddock does: {wrong}"
        return Readiness(ready=False, model="", reason=reason)


def _read(content: bytes, *, healthy: bool) -> Readiness:
    answer = typed(json.loads(content), dict, "the answer")
    return Readiness(
        ready=field(answer, "ready", bool) and healthy,
        model=field(answer, "model", str),
        reason=field(answer, "reason", str),
        test_weights=bool(optional(answer, "test_weights", bool)),
        notice=optional(answer, "notice", str) or "",
    )
