"""Paddock as a user runs it who is in the group docker and owns nothing: a checkout and a Python of root's.

Both are bound to a folder in a private mount namespace, so they may lie where only root can look.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import programs
from programs import Finished
from repository import REPOSITORY

UID = 54321  # nobody has it, so no file says where its home is
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_BINDING = """
set -e
umask 077
while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done
shift
exec setpriv --reuid="$1" --regid="$1" --groups="$2" --no-new-privs -- env --ignore-environment "${@:3}"
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalUser:
    """Somebody with a folder, in which `checkout` is this repository."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    def run(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> Finished:
        """Run `paddock`; it has PATH and `environment`, and no HOME unless that is in it."""
        packages = Path(sysconfig.get_path("purelib"))
        bound = {Path(sys.base_prefix): "python", packages: "packages", REPOSITORY: "checkout"}
        binds = [str(word) for source, name in bound.items() for word in (source, self.folder / name)]
        settings = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{self.checkout / 'tool'}:{self.folder / 'packages'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        group = Path("/var/run/docker.sock").stat().st_gid
        program = [str(self.folder / "python/bin" / _PYTHON), "-m", "paddock"]
        return programs.run(
            *("unshare", "--mount", "--propagation", "private", "bash", "-c", _BINDING, "bash"),
            *(*binds, "--", str(UID), str(group)),
            *(f"{name}={value}" for name, value in settings.items()),
            *("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", cwd or self.home, *program, *arguments),
        )


@contextmanager
def normal_user() -> Iterator[NormalUser]:
    """Such a user, with an empty home that HOME need not name."""
    with TemporaryDirectory(dir="/var/tmp", prefix="paddock-user-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for place in ("python", "packages", "checkout", "home"):
            (folder / place).mkdir(mode=0o755)
        os.chown(folder / "home", UID, UID)
        (folder / "home").chmod(0o700)
        yield NormalUser(folder=folder)
