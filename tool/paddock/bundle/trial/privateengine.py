"""A second Docker Engine without any network, which stands for the host at a site when a bundle is tried.

It runs in namespaces of its own: the network has a loopback device and nothing else, and the kernel removes
its processes and mounts with the engine, even when whoever started it is killed. Needs root, dockerd and
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
    """Raise PreflightError unless a second engine can be started here."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if os.geteuid() == 0 and not missing:
        return
    found = f"no {', '.join(missing)} on PATH" if missing else "a user that is not root"
    raise PreflightError(
        f"second engine: found {found}, expected root, Docker Engine's dockerd and util-linux",
        hint="run it as root, as with sudo, on a Linux machine with Docker Engine and paddock installed:"
        " the tool's container has no engine",
    )


class PrivateEngine:
    """An engine whose data, sockets and settings lie in `folder`, which stays when the engine ends.

    Raises PreflightError when the folder's path is too long for sockets.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        if len(str(folder)) > _LONGEST_FOLDER:
            raise PreflightError(
                f"{folder}: found a path of {len(str(folder))} characters,"
                f" expected {_LONGEST_FOLDER} at most, for sockets lie in it",
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
        assert self._program is not None, "the engine is not running"  # noqa: S101
        return Path(f"/proc/{self._program.pid}/ns/net")

    def start(self) -> None:
        """Start it and wait until it answers. Raises EngineError with its last lines when it does not."""
        configuration = self.folder / "daemon.json"
        content = {
            "features": {"containerd-snapshotter": self.store is Store.CONTAINERD},
            # systemd would get process ids of the engine's namespace, which mean other processes outside
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
        }
        configuration.write_text(json.dumps(content), "ascii")
        pid_file, exec_root = self.folder / "docker.pid", self.folder / "exec"
        pid_file.unlink(missing_ok=True)  # left by a killed engine; its process id means another one by now
        shutil.rmtree(exec_root, ignore_errors=True)
        argv: tuple[str | Path, ...] = (
            # if this process is killed, unshare is, then dockerd, and the kernel ends all in its namespaces
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("dockerd", "--config-file", configuration, "--data-root", self.data_root),
            *("--exec-root", exec_root, "--host", self.address, "--pidfile", pid_file),
        )
        self._program = Background([str(part) for part in argv], log=self.folder / "dockerd.log")
        self._wait(self._program)
        with self.entered():
            _raise_loopback()

    def _wait(self, program: Background) -> None:
        """Wait until the engine answers."""
        end = time.monotonic() + START_LIMIT
        while not self._docker("info", "--format", "{{.ID}}").strip():
            if program.ended() or time.monotonic() > end:
                said = (self.folder / "dockerd.log").read_text("utf-8", "replace")[-_LOG_SHOWN:]
                raise EngineError(f"second engine: did not start; the last lines of dockerd:\n{said}")
            time.sleep(0.2)

    def end(self) -> None:
        """End its containers, then the engine. Nothing of it is running or mounted afterwards."""
        if self._program is None:
            return
        # Containers of an engine that does not answer end with it; only their control groups stay.
        with suppress(ProgramError):
            if containers := self._docker("ps", "--all", "--quiet").split():
                self._docker("rm", "--force", *containers)
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
        """Put this thread, and the threads and programs that it starts, into the engine's network."""
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
    """A running engine. Whatever happens, nothing but its files in `folder` is left of it afterwards."""
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
    """The processes that a process has started (proc(5))."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
        except OSError:  # the process has ended
            continue
        if int(parent) == pid and state != "Z":
            children.append(int(path.parent.name))
    return children
