"""How a task can fail, and what follows: the job's end, or another try."""

from __future__ import annotations

from typing import Literal

Kind = Literal["document", "api", "killed", "away", "internal"]


class TaskFailed(Exception):  # noqa: N818 - it is an answer
    """Why a task was not done. The words go to the client."""

    kind: Kind = "internal"

    def __init__(self, reason: str, *, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after  # seconds before the next try, at least


class GiveUp(TaskFailed):
    """The document or the request is such that no other try can help."""

    kind: Kind = "document"


class Unanswered(TaskFailed):
    """The pipeline API failed at it; that may pass."""

    kind: Kind = "api"


class Killed(TaskFailed):
    """A process ended while it worked on this, and on nothing else: three times, and the job fails."""

    kind: Kind = "killed"


class Away(TaskFailed):
    """What is needed is not there at the moment; nobody's fault, and no try."""

    kind: Kind = "away"
