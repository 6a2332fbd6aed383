"""Running real programs in tests: `paddock` itself, `docker`, and what they need of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PADDOCK = (sys.executable, "-m", "paddock")
LIMIT = 900.0  # seconds; a model server starts within two minutes on a busy machine

Finished = subprocess.CompletedProcess[str]


def run(
    *argv: str | Path,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
    limit: float = LIMIT,
) -> Finished:
    """Run a program to its end, whatever its exit status. `environment` is added to that of this process."""
    return subprocess.run(
        [str(part) for part in argv],
        env={**os.environ, **(environment or {})},
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


def paddock(
    *arguments: str | Path, cwd: Path | None = None, limit: float = LIMIT, **environment: str
) -> Finished:
    """Run `paddock`, whatever its exit status."""
    return run(*PADDOCK, *arguments, environment=environment, cwd=cwd, limit=limit)


def docker(*arguments: str | Path, check: bool = True, stdin: str | None = None, limit: float = LIMIT) -> str:
    """What a docker command prints on stdout; its failure fails the test with what it said."""
    done = run("docker", *arguments, stdin=stdin, limit=limit)
    assert not check or done.returncode == 0, f"docker {' '.join(map(str, arguments))}\n{done.stderr}"
    return done.stdout


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
