"""Runs Paddle's predictors in a process of their own, one run at a time, in fair order among requests.

Paddle holds the interpreter's lock while a predictor runs (PaddlePaddle 3.3.1: a thread beside a run of 5.1 s stood
still for 5.1 s), so that nothing else of this service would be answered. A predictor's input and output handles are
shared, so two threads in one would read each other's pages.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

import arrays
from turns import Turns, here

NICE = 5  # whoever answers requests goes first
log = logging.getLogger("uvicorn.error")


class Predictors:
    """The other process. Started before Paddle is imported here."""

    def __init__(self) -> None:
        processes = multiprocessing.get_context("spawn")
        self._pipe, theirs = processes.Pipe()
        processes.Process(target=serve, args=(theirs,), daemon=True, name="paddle").start()
        theirs.close()
        self._turns = Turns(1)
        self._lock = threading.Lock()  # of the pipe

    def install(self) -> None:
        """Have PaddleX's predictors made and run over there."""
        from paddlex.inference.models.runners.paddle_static.runner import PaddleStaticRunner

        asked = self

        def make(self: Any, *arguments: Any, **named: Any) -> None:
            self.number = asked.make(arguments, named)

        def run(self: Any, x: list[arrays.Array]) -> list[arrays.Array]:
            return asked.run(self.number, x)

        PaddleStaticRunner.__init__ = make
        PaddleStaticRunner.__call__ = run

    def make(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> int:
        """Load a model; its number."""
        with self._lock:
            self._pipe.send(("make", arguments, named))
            number: int = self._answer()
            return number

    def run(self, number: int, inputs: list[arrays.Array]) -> list[arrays.Array]:
        """One run of a model, when it is the turn of this thread's request."""
        with self._turns.held(here.request), self._lock:
            self._pipe.send(("run", number))
            arrays.send(self._pipe, inputs)
            return arrays.receive(self._pipe, self._answer())

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            log.critical(
                "the process that runs Paddle has ended; this container ends, too, so that it is started again"
            )
            os._exit(1)
        if isinstance(answer, Exception):
            raise answer
        return answer


def serve(pipe: Connection) -> None:
    """Make and run predictors until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    import paddle
    from paddlex.inference.models.runners.paddle_static.runner import PaddleStaticRunner

    paddle.disable_signal_handler()  # it would report the end of this process as a crash
    runners: list[Any] = []
    while True:
        try:
            what, *more = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            if what == "make":
                arguments, named = more
                runners.append(PaddleStaticRunner(*arguments, **named))
                pipe.send(len(runners) - 1)
            else:
                inputs = arrays.receive(pipe, pipe.recv())
                arrays.send(pipe, runners[more[0]](inputs))
        except Exception as wrong:
            pipe.send(RuntimeError(f"{type(wrong).__name__}: {wrong}"))
