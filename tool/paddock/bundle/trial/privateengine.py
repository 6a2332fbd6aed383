"""A second Docker Engine that has no network at all: a site's host, to try a bundle on before it leaves.

It runs in namespaces of its own: a network with a loopback device and nothing else, processes and mounts that
the kernel takes away with the engine, even when whoever started it was killed. Needs root, dockerd and
util-linux.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paddock import process
from paddock.bundle.imagestore.store import Store
from paddock.errors import EngineError, PreflightError, ProgramError
from paddock.process import Background

START_LIMIT = 60  # seconds
_PROGRAMS = ("dockerd", "docker", "setpriv", "unshare")
_ANSWER_LIMIT = 300.0  # seconds for one docker command
_LONGEST_FOLDER = 70  # characters: the path of a socket has 107, and containerd's adds 37
_LOG_SHOWN = 2000  # characters
_NETWORK = 0x40000000  # CLONE_NEWNET of setns(2); os.setns is there from Python 3.12 on
_SET_FLAGS, _UP = 0x8914, 1  # SIOCSIFFLAGS, IFF_UP of netdevice(7); a bare host has no `ip`


def require_means() -> None:
    """Raise PreflightError where no second engine can be started."""
    missing = [each for each in _PROGRAMS if shutil.which(each) is None]
    if os.geteuid() == 0 and not missing:
        return
    found = f"no {', '.join(missing)} on PATH" if missing else "a user that is not root"
    raise PreflightError(
        f"second engine: found {found}, expected root, Docker Engine's dockerd and util-linux",
        hint="run it as root (`sudo`) on a Linux machine with Docker Engine installed, where paddock is installed, too:"
        " the tool's container has no engine",
    )


class PrivateEngine:
    """An engine whose data, sockets and settings lie in `folder`; that is short, and stays when the engine
    ends.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        if len(str(folder)) > _LONGEST_FOLDER:
            raise PreflightError(
                f"{folder}: found a path of {len(str(folder))} characters, expected {_LONGEST_FOLDER} at most,"
                " for sockets lie in it",
                hint="name a folder with a shorter path",
            )
        self.folder, self.store = folder, store
        self._program: Background | None = None

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def data_root(self) -> Path:
        return self.folder / "data"

    @property
    def network(self) -> Path:
        """Its network, for `nsenter --net`."""
        assert self._program is not None, "it does not run"  # noqa: S101
        return Path(f"/proc/{self._program.pid}/ns/net")

    def start(self) -> None:
        """Start it and wait until it answers. Raises EngineError with its last lines when it does not."""
        configuration = self.folder / "daemon.json"
        # systemd would be told numbers of processes that mean others outside
        content = {
            "features": {"containerd-snapshotter": self.store is Store.CONTAINERD},
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
        }
        configuration.write_text(json.dumps(content), "ascii")
        (self.folder / "docker.pid").unlink(
            missing_ok=True
        )  # of one that was killed: its numbers mean others now
        shutil.rmtree(self.folder / "exec", ignore_errors=True)
        argv = (
            # if we are killed, then unshare is, then dockerd, and the kernel ends all that lives in its
            # namespaces
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("dockerd", "--config-file", configuration, "--data-root", self.data_root),
            *(
                "--exec-root",
                self.folder / "exec",
                "--host",
                self.address,
                "--pidfile",
                self.folder / "docker.pid",
            ),
        )
        self._program = Background([str(each) for each in argv], log=self.folder / "dockerd.log")
        self._wait(self._program)
        with self.entered():
            _raise_loopback()

    def _wait(self, program: Background) -> None:
        end = time.monotonic() + START_LIMIT
        while not self._docker("info", "--format", "{{.ID}}").strip():
            if program.ended() or time.monotonic() > end:
                said = (self.folder / "dockerd.log").read_text("utf-8", "replace")[-_LOG_SHOWN:]
                raise EngineError(f"second engine: did not start; the end of what dockerd said:\n{said}")
            time.sleep(0.2)

    def end(self) -> None:
        """End its containers, then everything of it. Nothing of it runs or is mounted after that."""
        if self._program is None:
            return
        with suppress(
            ProgramError
        ):  # an engine that does not answer; its end is theirs, but for control groups
            if left := self._docker("ps", "--all", "--quiet").split():
                self._docker("rm", "--force", *left)
        self.kill()

    def kill(self) -> None:
        """End it as a power cut does."""
        program, self._program = self._program, None
        if program is None:
            return
        children = _children(program.pid)
        for child in children:
            os.kill(child, signal.SIGKILL)
        if children:
            program.wait()  # unshare ends when everything in the namespaces has
        else:
            program.kill()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread, and all threads and programs that it starts, in the engine's network."""
        with Path("/proc/thread-self/ns/net").open("rb") as home, self.network.open("rb") as inside:
            _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def _docker(self, *arguments: str) -> str:
        argv = ["docker", "--host", self.address, *arguments]
        return process.capture(argv, check=False, timeout=_ANSWER_LIMIT).stdout


@contextmanager
def private_engine(folder: Path, store: Store) -> Iterator[PrivateEngine]:
    """A running engine; nothing but its files in `folder` is left of it afterwards, whatever happens."""
    engine = PrivateEngine(folder, store)
    try:
        engine.start()
        yield engine
    finally:
        with process.ignoring_interrupts():
            engine.end()


def _enter(network: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, _NETWORK) != 0:
        number = ctypes.get_errno()
        raise PreflightError(f"second engine: its network cannot be entered ({os.strerror(number)})")


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))


def _children(pid: int) -> list[int]:
    """Processes that a process has started (proc(5))."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
        except OSError:  # it is gone
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found
