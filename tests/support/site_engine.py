"""The host at the site: a second, real Docker Engine that has no network at all. Needs root and util-linux."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from paddock.bundle.imagestore import store as image_store
from paddock.bundle.trial.privateengine import PrivateEngine

Store = Literal["classic", "containerd"]


class SiteEngine(PrivateEngine):
    """An engine in a network of its own; `folder` is its file system where a size was asked for."""

    def environment(self) -> dict[str, str]:
        """What leads `docker` and `paddock` to it."""
        return {"DOCKER_HOST": self.address}

    def enter(self, *argv: str | Path) -> list[str]:
        """A command as a client on that host runs it: with its network."""
        return ["nsenter", f"--net={self.network}", *map(str, argv)]

    def docker(self, *arguments: str, check: bool = True) -> str:
        """What a docker command prints there."""
        argv = ["docker", *arguments]
        environment = {**os.environ, **self.environment()}
        return subprocess.run(
            argv, env=environment, capture_output=True, text=True, check=check, timeout=600
        ).stdout


@contextmanager
def site_engine(
    store: Store, *, size: int | None = None, in_memory: bool = False, parent: Path = Path("/var/tmp")
) -> Iterator[SiteEngine]:
    """A running engine; with `size` (bytes) on a file system of its own, so that it can be filled and
    measured.

    `in_memory`: that file system is one in memory, which is quick where engines flush every step to the disk.
    """
    folder = Path(
        tempfile.mkdtemp(prefix="paddock-site-", dir=parent)
    )  # short: a socket's path has 108 bytes
    try:
        with file_system(folder, size, in_memory=in_memory):
            engine = SiteEngine(folder, image_store.Store(store))
            try:
                engine.start()
                yield engine
            finally:
                engine.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def file_system(folder: Path, size: int | None, *, in_memory: bool) -> Iterator[None]:
    """Have a file system of its own at `folder`, where one is asked for."""
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
