"""A host at the site: an engine without a network, and `paddock` with a state folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import programs
from programs import PADDOCK, Finished, require_failure, wait_until
from samples import cut_short
from site_engine import SiteEngine

LIMIT = 300  # seconds; a busy machine is slow


@dataclass(frozen=True, kw_only=True)
class Site:
    """A host at the site: its engine, and a state folder of its own."""

    engine: SiteEngine
    state: Path

    def environment(self) -> dict[str, str]:
        """What leads `paddock` to this host's engine and state."""
        return {**self.engine.environment(), "PADDOCK_STATE": str(self.state)}

    def paddock(self, *arguments: str | Path) -> Finished:
        """Run `paddock`, whatever its exit status. Bundles of tests are signed only where a key is pinned."""
        return programs.run(*PADDOCK, *unchecked(arguments), environment=self.environment(), limit=LIMIT)

    def refuses(self, *arguments: str | Path, words: str) -> None:
        """`paddock` ends with status 7 and these words."""
        require_failure(self.paddock(*arguments), 7, words)

    def cut_short(self, number: int, *arguments: str | Path, seen: Path) -> Finished:
        """Run `paddock` and kill it before its step `number`; the steps it reached are added to `seen`."""
        argv = (sys.executable, cut_short.__file__, str(number), seen, *unchecked(arguments))
        return programs.run(*argv, environment=self.environment(), limit=LIMIT)

    def meanwhile(self, *arguments: str | Path, event: Callable[[], object]) -> Finished:
        """Run `paddock`, and let `event` happen when the first bytes of a large layer are at the engine."""
        self.state.mkdir(parents=True, exist_ok=True)
        marker = self.state.with_name("in-the-middle")
        argv = [sys.executable, cut_short.__file__, "-1", str(marker), *map(str, unchecked(arguments))]
        running = programs.start(*argv, environment={**self.environment(), "PAUSE": "1"})
        try:
            wait_until(lambda: _there_or_ended(marker, running), "the first bytes are sent", pause=0.05)
            assert running.poll() is None, running.communicate()
            event()
        finally:
            marker.unlink(missing_ok=True)
        out, err = running.communicate(timeout=LIMIT)
        return Finished(argv, running.returncode, out, err)

    def clear(self) -> None:
        """Take away every container and image, and what the site knows."""
        self.engine.remove_containers()
        self.engine.remove_images()
        shutil.rmtree(self.state, ignore_errors=True)

    def names(self) -> set[str]:
        """Of all images."""
        return set(self.engine.names())

    def layers(self, reference: str) -> list[str]:
        """The diff ids of an image."""
        return self.engine.layers(reference)


def unchecked(arguments: Sequence[str | Path]) -> tuple[str | Path, ...]:
    """A command that imports unsigned bundles, too; where a key is pinned, that changes nothing."""
    return (*arguments, "--unsigned") if arguments[:1] == ("import",) else tuple(arguments)


def _there_or_ended(marker: Path, running: subprocess.Popen[str]) -> bool:
    return marker.exists() or running.poll() is not None
