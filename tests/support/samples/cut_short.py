"""Runs `paddock` and ends it with SIGKILL before one of the steps that an import is written down in.

usage: cut_short.py NUMBER FILE ARGUMENT...

NUMBER -1 ends nothing; FILE gets the names of the steps that were reached, one a line.

With PAUSE set it ends nothing, but makes FILE once a large layer has begun to go to the engine, and waits
there until FILE is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paddock.bundle.check import sequences
from paddock.bundle.format.manifest import Layer
from paddock.bundle.site import importing, loading, loadplan, proof
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.door import run
from paddock.report import Advance

STEPS: tuple[tuple[Any, str], ...] = (
    (site_state.SiteState, "note"),
    (loading.Loader, "send"),
    (loading.SentStep, "finish"),
    (loading, "remove_name"),
    (proof, "prove"),
    (importing, "switch"),
    (site_stack, "prepare"),
    (site_stack, "put_in_place"),
    (sequences, "record"),
    (site_state.SiteState, "remember"),
    (loading, "remove_staging"),
    (site_state.SiteState, "forget"),
)


def main(number: int, seen: Path, arguments: list[str]) -> int:
    loadplan.SMALL_STEP = 1  # each layer a step
    reached = 0

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*args: Any, **named: Any) -> Any:
            nonlocal reached
            with seen.open("a") as file:
                file.write(f"{name}\n")
            if reached == number:
                os.kill(os.getpid(), signal.SIGKILL)
            reached += 1
            return function(*args, **named)

        return watching

    for owner, name in STEPS:
        setattr(owner, name, watched(name, getattr(owner, name)))
    return run(arguments)


def paused(marker: Path, arguments: list[str]) -> int:
    """Wait in the middle of the first layer that comes in more than one piece."""
    counted = loading.counted
    waited = False

    def waiting(pieces: Iterator[bytes], layer: Layer, size: int, advance: Advance) -> Iterator[bytes]:
        nonlocal waited
        for number, piece in enumerate(counted(pieces, layer, size, advance)):
            if number == 1 and not waited:
                waited = True
                marker.touch()
                while marker.exists():
                    time.sleep(0.05)
            yield piece

    loading.counted = waiting
    return run(arguments)


if __name__ == "__main__":
    if os.environ.get("PAUSE"):
        sys.exit(paused(Path(sys.argv[2]), sys.argv[3:]))
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
