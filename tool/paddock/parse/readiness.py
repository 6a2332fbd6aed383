"""Asking a pipeline API whether it can answer (`GET /health/ready`, added by our image; see its serve.py)."""

from __future__ import annotations

from dataclasses import dataclass

import requests

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
    """What the pipeline API at `url` says of itself; an API that does not answer is not ready. Raises
    nothing.
    """
    with requests.Session() as session:
        session.trust_env = False  # it is on this host or on the engine's; proxies are for the world outside
        try:
            answer = session.get(f"{url}/health/ready", timeout=timeout)
            body = answer.json()
            return Readiness(
                ready=answer.status_code == 200 and body["ready"] is True,
                model=str(body["model"]),
                reason=str(body["reason"]),
                test_weights=body.get("test_weights") is True,
                notice=str(body.get("notice", "")),
            )
        except requests.ConnectionError:
            reason = "the pipeline API does not listen yet"
        except requests.Timeout:
            reason = f"the pipeline API gave no answer within {timeout:.0f} s"
        except (requests.RequestException, ValueError, KeyError, TypeError) as wrong:
            reason = f"{url}/health/ready does not answer as a pipeline API of paddock's does: {wrong}"
        return Readiness(ready=False, model="", reason=reason)
