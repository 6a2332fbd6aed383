"""The engine of a host at the site: a second, real Docker Engine that has no network at all.

Needs root and util-linux.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import programs
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.trial.privateengine import PrivateEngine
from small_images import SmallImage, archive

Load = Callable[[Sequence[SmallImage]], None]  # puts images into an engine
UNMOUNTED_WITHIN = 60  # seconds
LAYERS = "{{json .RootFS.Layers}}"  # a format for `docker image inspect`


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
        return programs.docker(*arguments, check=check, environment=self.environment())

    def load(self, images: Sequence[SmallImage]) -> None:
        """`docker load` these images."""
        subprocess.run(
            ["docker", "load", "--quiet"],
            input=archive(images),
            env={**os.environ, **self.environment()},
            capture_output=True,
            check=True,
            timeout=300,
        )

    def names(self) -> list[str]:
        """The names of all images."""
        return self.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()

    def layers(self, reference: str) -> list[str]:
        """The diff ids of an image, from the lowest layer up."""
        diff_ids: list[str] = json.loads(self.docker("image", "inspect", "--format", LAYERS, reference))
        return diff_ids

    def remove_containers(self) -> None:
        """Remove all containers, running or not."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", *containers)

    def remove_images(self) -> None:
        """Remove all images; the first round may leave those that others were made of."""
        for _ in range(2):
            if images := self.docker("images", "--all", "--quiet").split():
                self.docker("image", "rm", "--force", *images, check=False)


@contextmanager
def site_engine(
    store: str, *, size: int | None = None, in_memory: bool = False, parent: Path = Path("/var/tmp")
) -> Iterator[SiteEngine]:
    """A running engine with this image store; with `size` in bytes, on a file system that can be filled up.

    `in_memory`: that file system is one in memory, which is quick where engines flush every step to the disk.
    """
    # not below pytest's folder: the path of a socket has room for 108 bytes
    folder = Path(tempfile.mkdtemp(prefix="paddock-site-", dir=parent))
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
    assert size is not None
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
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """Unmount once nothing uses the file system: what was killed in it may take seconds to end."""
    end = time.monotonic() + UNMOUNTED_WITHIN
    while (done := programs.run("umount", folder)).returncode:
        assert time.monotonic() < end, done.stderr
        time.sleep(0.2)
