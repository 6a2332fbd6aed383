"""The packages that the corpus comes from: what packages.yaml says of them, and where their archives are.

Names, versions and hashes are committed; addresses are not. uv says where PyPI's source distributions are,
and apt where Debian's source packages are, each as this machine is set up. No build of a package is run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from paddock.errors import ConfigurationError, ProgramError
from paddock.matrix import strictyaml
from paddock.matrix.fieldtypes import Pattern

FILE = Path(__file__).with_name("packages.yaml")
UV = Path(sys.executable).with_name("uv")  # that of constraints.txt
SUITE = "trixie"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
NEWEST_PYTHON = "3.13"  # a source distribution may ask for a newer Python than ours: it is not run

Registry = Literal["PyPI", "Debian"]
Sha256 = Annotated[str, Pattern(r"[0-9a-f]{64}", "64 hexadecimal digits")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One package at the version whose archive was looked at."""

    name: str
    version: str
    sha256: Sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Packages:
    """The whole file."""

    pypi: tuple[Package, ...]
    debian: tuple[Package, ...]

    def each(self) -> Iterator[tuple[Registry, Package]]:
        """All packages with the registry of each."""
        yield from (("PyPI", package) for package in self.pypi)
        yield from (("Debian", package) for package in self.debian)


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """Where the source of a package can be fetched today; `sha256` is what its registry says of it."""

    registry: Registry
    package: Package
    address: str

    @property
    def folder(self) -> str:
        """Where its files are."""
        return folder_of(self.registry, self.package)


def read(path: Path = FILE) -> Packages:
    """Read the file. Raises DataError."""
    return strictyaml.read(path, Packages).record


def folder_of(registry: Registry, package: Package) -> str:
    """A name that no other package of the corpus has."""
    return f"{registry.lower()}-{package.name}"


def text_of(archives: Sequence[Archive]) -> str:
    """The file for these archives, below the comment that it starts with."""
    written = FILE.read_text("utf-8").splitlines(keepends=True)
    lines = [line for line in written if line.startswith("#")]
    for registry in ("PyPI", "Debian"):
        lines.append(f"{registry.lower()}:\n")
        for package in (archive.package for archive in archives if archive.registry == registry):
            lines.append(f'  - name: {package.name}\n    version: "{package.version}"\n')
            lines.append(f'    sha256: "{package.sha256}"\n')
    return "".join(lines)


# --- PyPI ---------------------------------------------------------------------------------------------------


def on_pypi(names: Sequence[str]) -> Iterator[Archive]:
    """The source distributions of requirements such as `pypdf==7.1.1` or `pypdf`.

    uv reads about a package in its wheel; for one without a wheel it would run the package's build, so such a
    package does not belong into packages.yaml. Raises ProgramError where uv finds no such version,
    ConfigurationError for a package without a source distribution or without a wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, answer = Path(folder, "in.txt"), Path(folder, "pylock.toml")
        wanted.write_text("\n".join(names), "utf-8")
        options = ("--quiet", "--no-deps", "--python-version", NEWEST_PYTHON)
        format_ = ("--format", "pylock.toml", "--output-file", answer)
        _output((UV, "pip", "compile", wanted, *options, *format_))
        entries = tomllib.loads(answer.read_text("utf-8"))["packages"]
    for entry in entries:
        if not {"sdist", "wheels"} <= entry.keys():
            raise ConfigurationError(
                f"{entry['name']}: found one file, expected a source distribution and a wheel"
            )
        sdist = entry["sdist"]
        package = Package(name=entry["name"], version=entry["version"], sha256=sdist["hashes"]["sha256"])
        yield Archive(registry="PyPI", package=package, address=sdist["url"])


# --- Debian -------------------------------------------------------------------------------------------------

_ORIGINAL = re.compile(
    r"^ (?P<sha256>[0-9a-f]{64}) \d+ (?P<file>\S+_(?P<version>\S+)\.orig\.tar\.\w+)$", re.MULTILINE
)
_FIELD = re.compile(r"^(?P<name>Package|Directory): (?P<value>.+)$", re.MULTILINE)


def in_debian(names: Sequence[str], root: Path) -> Iterator[Archive]:
    """Upstream's archives of source packages, in the versions that Debian 13 has today.

    apt keeps its lists below `root`, and nothing of the machine's own is changed. Raises ProgramError where
    apt finds no such package, ConfigurationError where the machine has no source of Debian's packages.
    """
    mirror = _mirror()
    options = tuple(_options(root, mirror))
    _output(("apt-get", *options, "update", "-qq"))
    yield from archives_of(_output(("apt-cache", *options, "showsrc", "--only-source", *names)), mirror)


def archives_of(described: str, mirror: str) -> Iterator[Archive]:
    """The archives that `apt-cache showsrc` tells of; packages come apart at empty lines."""
    for stanza in described.strip().split("\n\n"):
        fields = {found["name"]: found["value"] for found in _FIELD.finditer(stanza)}
        for found in _ORIGINAL.finditer(stanza):
            package = Package(name=fields["Package"], version=found["version"], sha256=found["sha256"])
            address = f"{mirror.rstrip('/')}/{fields['Directory']}/{found['file']}"
            yield Archive(registry="Debian", package=package, address=address)


def _options(root: Path, mirror: str) -> Iterator[str]:
    """Options by which apt reads sources only, those of one suite, and writes below `root`."""
    (root / "lists/partial").mkdir(parents=True, exist_ok=True)
    (root / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    source = root / "corpus.sources"
    stanza = {"Types": "deb-src", "URIs": mirror, "Suites": SUITE, "Components": "main", "Signed-By": KEYRING}
    source.write_text("".join(f"{key}: {value}\n" for key, value in stanza.items()), "utf-8")
    settings: Mapping[str, Path] = {
        "Dir::Etc::SourceList": source,
        "Dir::Etc::SourceParts": Path("/dev/null"),
        "Dir::State::Lists": root / "lists",
        "Dir::Cache": root / "cache",
    }
    for name, value in settings.items():
        yield from ("-o", f"{name}={value}")


def _mirror() -> str:
    """The archive that this machine's own apt takes Debian's packages from."""
    fields = "$(CREATED_BY) $(ORIGIN) $(COMPONENT) $(LABEL) $(REPO_URI)"
    for line in _output(("apt-get", "indextargets", "--format", fields)).splitlines():
        words = line.split()
        if words[:4] == ["Packages", "Debian", "main", "Debian"]:
            return words[4]
    raise ConfigurationError(
        "apt: found no source of Debian's packages, expected one with the component main",
        hint="run this on Debian, or in a container of it",
    )


def _output(command: Sequence[str | os.PathLike[str]]) -> str:
    """What a program prints. Raises ProgramError with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise ProgramError(
            f"{Path(command[0]).name}: exit status {done.returncode}, expected 0: {said}",
            hint="a version that is gone: scripts/corpus/gather.py --update takes the newest ones",
        )
    return done.stdout
