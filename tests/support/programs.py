"""Running real programs in tests: `paddock` itself, `docker`, and what they need of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PADDOCK = (sys.executable, "-m", "paddock")
LIMIT = 900.0  # seconds; a model server starts within two minutes on a busy machine

Finished = subprocess.CompletedProcess[str]


def run(
    *argv: str | Path,
    environment: Mapping[str, str] | None = None,
    inherit: bool = True,
    stdin: str | None = None,
    cwd: Path | None = None,
    limit: float = LIMIT,
) -> Finished:
    """Run a program to its end, whatever its exit status.

    `environment` is added to that of this process, or is all there is where `inherit` is false. Without
    `stdin` there is nothing to read.
    """
    return subprocess.run(
        [str(part) for part in argv],
        env=_environment(environment, inherit=inherit),
        stdin=subprocess.DEVNULL if stdin is None else None,
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


def start(
    *argv: str | Path,
    environment: Mapping[str, str] | None = None,
    inherit: bool = True,
    cwd: Path | None = None,
    new_session: bool = False,
) -> subprocess.Popen[str]:
    """Start a program and leave it running; with `new_session`, in a process group of its own."""
    return subprocess.Popen(
        [str(part) for part in argv],
        env=_environment(environment, inherit=inherit),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=new_session,
    )


def _environment(more: Mapping[str, str] | None, *, inherit: bool) -> dict[str, str]:
    return {**(os.environ if inherit else {}), **(more or {})}


def paddock(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: float = LIMIT,
    **variables: str,
) -> Finished:
    """Run `paddock`, whatever its exit status; `environment` and `variables` are added to its environment."""
    return run(*PADDOCK, *arguments, environment={**(environment or {}), **variables}, cwd=cwd, limit=limit)


def succeeded(done: Finished) -> str:
    """The stdout of a program that ended well; its failure fails the test with the end of what it said."""
    assert done.returncode == 0, f"{' '.join(done.args)}\n{done.stderr[-6000:]}"
    return done.stdout


def require_failure(done: Finished, status: int, *words: str) -> None:
    """Fail the test unless a program ended with this status and said all these words on stderr."""
    unsaid = [text for text in words if text not in done.stderr]
    assert (done.returncode, unsaid) == (status, []), done.stderr


def docker(
    *arguments: str | Path,
    check: bool = True,
    stdin: str | None = None,
    limit: float = LIMIT,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """What a docker command prints on stdout; its failure fails the test with what it said."""
    done = run("docker", *arguments, stdin=stdin, limit=limit, environment=environment, cwd=cwd)
    assert not check or done.returncode == 0, f"docker {' '.join(map(str, arguments))}\n{done.stderr}"
    return done.stdout


def container_logs(container: str) -> str:
    """What a container said on stdout, then what it said on stderr."""
    done = run("docker", "logs", container)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(reached: Callable[[], bool], what: str, *, limit: float = 300, pause: float = 0.5) -> None:
    """Wait until something is so; the limit in seconds is generous, because a machine may be busy."""
    end = time.monotonic() + limit
    while not reached():
        assert time.monotonic() < end, f"after {limit:.0f} s still not so: {what}"
        time.sleep(pause)
