"""A second, real Docker Engine that has no network at all: the host at the site. Needs root and util-linux only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Store = Literal["classic", "containerd"]
START_LIMIT = 60  # seconds
_STARTED: dict[Path, subprocess.Popen[bytes]] = {}  # by folder: whoever started a program has to wait for its end
# SIOCSIFFLAGS with IFF_UP, as netdevice(7) has it; a bare host has no `ip`
_LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteEngine:
    """An engine in a network namespace of its own, which has a loopback device and nothing else.

    `folder` is its file system where a size was asked for; `namespace` is for `nsenter --net`.
    """

    folder: Path
    store: Store
    namespace: Path

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def data_root(self) -> Path:
        return self.folder / "data"

    def environment(self) -> dict[str, str]:
        """What leads `docker` and `paddock` to it."""
        return {"DOCKER_HOST": self.address}

    def enter(self, *argv: str | Path) -> list[str]:
        """A command as a client on that host runs it: with its network."""
        return ["nsenter", f"--net={self.namespace}", *map(str, argv)]

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What a docker command prints there."""
        argv = ["docker", *arguments]
        environment = {**os.environ, **self.environment()}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=check, timeout=600).stdout

    def pid(self) -> int:
        return int((self.folder / "docker.pid").read_text("ascii"))

    def kill(self) -> None:
        """End it as a power cut does, containerd with it."""
        processes = self._processes()
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
        _wait_gone(processes)
        _STARTED.pop(self.folder).wait()
        (self.folder / "docker.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        processes = self._processes()
        os.kill(processes[0], signal.SIGTERM)
        _wait_gone(processes)
        _STARTED.pop(self.folder).wait()

    def _processes(self) -> list[int]:
        """dockerd and its containerd."""
        return [self.pid(), *_children(self.pid())]

    def start(self) -> None:
        """Start it and wait until it answers."""
        configuration = self.folder / "daemon.json"
        configuration.write_text(
            json.dumps({"features": {"containerd-snapshotter": self.store == "containerd"}}), "ascii"
        )
        argv = self.enter(
            "dockerd",
            *("--config-file", configuration, "--data-root", self.data_root, "--exec-root", self.folder / "exec"),
            *("--host", self.address, "--pidfile", self.folder / "docker.pid"),
        )
        with (self.folder / "dockerd.log").open("ab") as log:
            started = _STARTED[self.folder] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
            )
        end = time.monotonic() + START_LIMIT
        while not self.docker("info", "--format", "{{.ID}}", check=False).strip():
            log_text = (self.folder / "dockerd.log").read_text("utf-8", "replace")[-2000:]
            assert started.poll() is None and time.monotonic() < end, f"the site's engine did not start:\n{log_text}"
            time.sleep(0.2)


@contextmanager
def site_engine(
    store: Store, *, size: int | None = None, in_memory: bool = False, parent: Path = Path("/var/tmp")
) -> Iterator[SiteEngine]:
    """A running engine; with `size` (bytes) on a file system of its own, so that it can be filled and measured.

    `in_memory`: that file system is one in memory, which is quick where engines flush every step to the disk.
    """
    folder = Path(tempfile.mkdtemp(prefix="paddock-site-", dir=parent))  # short: a socket's path has 108 bytes
    try:
        with _namespace(folder.with_suffix(".net")) as namespace, _file_system(folder, size, in_memory=in_memory):
            engine = SiteEngine(folder=folder, store=store, namespace=namespace)
            try:
                engine.start()
                yield engine
            finally:
                _end(engine)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _namespace(path: Path) -> Iterator[Path]:
    """A network namespace with loopback, held by a mount on a file."""
    path.touch()
    try:
        subprocess.run(["unshare", f"--net={path}", sys.executable, "-c", _LOOPBACK_UP], check=True)
        try:
            yield path
        finally:
            subprocess.run(["umount", "--lazy", path], check=True)
    finally:
        path.unlink()


@contextmanager
def _file_system(folder: Path, size: int | None, *, in_memory: bool) -> Iterator[None]:
    if size is None and not in_memory:
        yield
        return
    if in_memory:
        with _mounted(folder, "-t", "tmpfs", "-o", f"size={size or 1 << 30}", "tmpfs"):
            yield
        return
    disk = folder.with_suffix(".img")
    try:
        with disk.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
        with _mounted(folder, "-o", "loop", disk):
            yield
    finally:
        disk.unlink(missing_ok=True)


@contextmanager
def _mounted(folder: Path, *what: str | Path) -> Iterator[None]:
    subprocess.run(["mount", *what, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def _end(engine: SiteEngine) -> None:
    if (engine.folder / "docker.pid").exists():
        if running := engine.docker("ps", "--all", "--quiet", check=False).split():
            engine.docker("rm", "--force", *running, check=False)
        engine.stop()
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    for path in sorted((each for each in mounted if each.startswith(f"{engine.folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", path], check=False)


def _children(pid: int) -> list[int]:
    everybody = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [each for each in everybody if _stat(each)[1:2] == [str(pid)]]


def _wait_gone(processes: Sequence[int]) -> None:
    end = time.monotonic() + START_LIMIT
    while left := [pid for pid in processes if _stat(pid)[:1] not in ([], ["Z"])]:
        assert time.monotonic() < end, f"processes {left} did not end"
        time.sleep(0.1)


def _stat(pid: int) -> list[str]:
    """State, parent, ... of a process (proc(5)); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
