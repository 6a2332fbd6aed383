"""Lists of Python packages: each with its version, and the hashes of the files that may be taken for it.

A line is `name==version --hash=sha256:... ...`, which pip and uv read, too. A line without a hash says after
a `#` why it has none. `# stand-in: ` begins what a trial takes in the place of a vendor's package.
scripts/maintain/lock-packages.py writes the hashes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import ConfigurationError

STAND_IN = "# stand-in: "
_LINE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[0-9][\w.!+-]*)"
    r"(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})*)(?: +# (?P<remark>.+))?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """One package of a list; `remark` says where a hash is from, or why there is none."""

    name: str
    version: str
    hashes: tuple[str, ...]  # SHA-256, hexadecimal
    remark: str = ""
    stand_in: bool = False

    @property
    def line(self) -> str:
        """The package as a list has it."""
        words = [f"{self.name}=={self.version}", *(f"--hash=sha256:{value}" for value in self.hashes)]
        remark = f" # {self.remark}" if self.remark else ""
        return f"{STAND_IN if self.stand_in else ''}{' '.join(words)}{remark}"


def read(path: Path) -> tuple[Locked, ...]:
    """The packages of a list, the stand-in last.

    Raises ConfigurationError for a line that is none.
    """
    packages = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        stand_in = line.startswith(STAND_IN)
        text = line.removeprefix(STAND_IN)
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f'{path}:{number}: found "{line[:80]}", expected name==version and its hashes',
                hint="write name==version, and `make lock` adds the hashes",
            )
        packages.append(
            Locked(
                name=match["name"],
                version=match["version"],
                hashes=tuple(word.removeprefix("--hash=sha256:") for word in match["hashes"].split()),
                remark=match["remark"] or "",
                stand_in=stand_in,
            )
        )
    return tuple(packages)
