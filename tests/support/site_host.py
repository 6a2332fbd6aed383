"""A host at the site, as its operator has it: an engine without a network, and `paddock` with a state folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samples import cut_short
from site_engine import SiteEngine

LIMIT = 300  # seconds; a busy machine is slow


@dataclass(frozen=True, kw_only=True)
class Site:
    """A host at the site: its engine, and a state folder of its own."""

    engine: SiteEngine
    state: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.engine.environment(), "PADDOCK_STATE": str(self.state)}

    def paddock(self, *arguments: str | Path) -> Any:
        """Run `paddock`; its exit status and output."""
        return self._start("-m", "paddock", *arguments)()

    def refuses(self, *arguments: str | Path, words: str) -> None:
        """`paddock` ends with status 7 and these words."""
        done = self.paddock(*arguments)
        assert (done.returncode, words in done.stderr) == (7, True), done.stderr

    def cut_short(self, number: int, *arguments: str | Path, seen: Path) -> Any:
        """`paddock`, ended before its step `number`; the names of the steps that it reached are added to
        `seen`.
        """
        return self._start(cut_short.__file__, str(number), seen, *arguments)()

    def meanwhile(self, *arguments: str | Path, event: Callable[[], object]) -> Any:
        """`paddock`, and something that happens when it has sent the first bytes of a large layer to the
        engine.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        marker = self.state.with_name("in-the-middle")
        finish = self._start(cut_short.__file__, "-1", marker, *arguments, pause=True)
        end = time.monotonic() + LIMIT
        while not marker.exists():
            assert time.monotonic() < end, finish().stderr
            time.sleep(0.05)
        event()
        marker.unlink()
        return finish()

    def _start(self, *arguments: str | Path, pause: bool = False) -> Callable[[], Any]:
        environment = {**self.environment(), **({"PAUSE": "1"} if pause else {})}
        argv = [sys.executable, *map(str, arguments)]
        started = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def finish() -> Any:
            with started:
                out, err = started.communicate(timeout=LIMIT)
            return subprocess.CompletedProcess(argv, started.returncode, out, err)

        return finish

    def clear(self) -> None:
        """Take away every container and image, and what the site knows."""
        if left := self.engine.docker("ps", "--all", "--quiet").split():
            self.engine.docker("rm", "--force", *left)
        for _ in range(2):
            if left := self.engine.docker("images", "--all", "--quiet").split():
                self.engine.docker("image", "rm", "--force", *left, check=False)
        shutil.rmtree(self.state, ignore_errors=True)

    def names(self) -> set[str]:
        """Of all images."""
        return set(self.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split())

    def layers(self, reference: str) -> list[str]:
        """The diff ids of an image."""
        return list(
            json.loads(
                self.engine.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference)
            )
        )
