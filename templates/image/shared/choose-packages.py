"""Decides for each package of a list which file may be installed, and writes that as lists for the installer.

    choose-packages.py LIST WHEELS INTO [--vendor PACKAGE] [--stand-in NAME==VERSION]

WHEELS is a folder of wheels that go before any index. Into the folder INTO come, where they are not empty:

    locked.txt            by hash, from WHEELS or the index
    vendor.txt            by hash, from the vendor's index
    unhashed.txt          without a hash, from WHEELS or the index
    vendor-unhashed.txt   without a hash, from the vendor's index

What has no hash is named on stderr. A wheel of WHEELS that has the wanted version and another hash than the list is
refused, unless UNLOCKED_WHEELS says that this machine's wheels are to be believed: then it is named and taken.
"""

import argparse
import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from pip._vendor.packaging.tags import sys_tags
from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename

STAND_IN = "# stand-in: "
LINE = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>[^\s;#]+)(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})*)(?: +# (?P<remark>.+))?"
)


@dataclass(frozen=True)
class Package:
    """One line of a list."""

    name: str
    version: str
    hashes: str  # the options, with a space before each
    remark: str

    @property
    def line(self) -> str:
        return f"{self.name}=={self.version}{self.hashes}"


def main() -> None:
    """Write the lists, or end with what must not be installed."""
    parser = argparse.ArgumentParser()
    for name in ("list", "wheels", "into"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--vendor", default="")
    parser.add_argument("--stand-in", default="")
    options = parser.parse_args()
    listed, stand_ins = read(options.list)
    if options.stand_in:
        # In the place of the vendor's package, and without the libraries of NVIDIA's that only that one wants.
        listed = [found for found in listed if found.name != options.vendor and not found.name.startswith("nvidia-")]
        stand_in = stand_ins.get(options.stand_in) or package(options.stand_in)
        listed = [found for found in listed if found.name != stand_in.name] + [stand_in]
    held = wheels(options.wheels)
    chosen: dict[str, list[str]] = {}
    for wanted in listed:
        place, line = choice(wanted, held.get(canonicalize_name(wanted.name), []), vendor=wanted.name == options.vendor)
        chosen.setdefault(place, []).append(line)
    options.into.mkdir(parents=True)
    for place, lines in chosen.items():
        (options.into / f"{place}.txt").write_text("".join(f"{line}\n" for line in lines))


def read(path: Path) -> tuple[list[Package], dict[str, Package]]:
    """The packages of a list, and its stand-ins by NAME==VERSION."""
    lines = [line for line in path.read_text().splitlines() if line]
    listed = [package(line) for line in lines if not line.startswith("#")]
    stand_ins = [package(line.removeprefix(STAND_IN)) for line in lines if line.startswith(STAND_IN)]
    return listed, {f"{found.name}=={found.version}": found for found in stand_ins}


def package(line: str) -> Package:
    """One line, taken apart."""
    match = LINE.fullmatch(line)
    if match is None:
        sys.exit(f'error: found "{line}", expected name==version and its hashes')
    return Package(match["name"], match["version"], match["hashes"], match["remark"] or "the list names none")


def wheels(folder: Path) -> dict[str, list[Path]]:
    """Name -> the wheels of it that fit this Python and system."""
    held: dict[str, list[Path]] = {}
    here = frozenset(sys_tags())
    for path in sorted(folder.glob("*.whl")):
        name, _, _, tags = parse_wheel_filename(path.name)
        if tags & here:
            held.setdefault(name, []).append(path)
    return held


def choice(wanted: Package, held: list[Path], *, vendor: bool) -> tuple[str, str]:
    """The list that a package goes to, and its line there."""
    fitting = [path for path in held if is_version(str(parse_wheel_filename(path.name)[1]), wanted.version)]
    for path in fitting:
        if digest(path) in wanted.hashes:
            return "locked", wanted.line
    if fitting:
        return "unhashed", taken(fitting[-1], wanted)
    if wanted.hashes:
        return "vendor" if vendor else "locked", wanted.line
    say(f"{wanted.line}: installed WITHOUT A HASH: {wanted.remark}")
    return "vendor-unhashed" if vendor else "unhashed", wanted.line


def taken(path: Path, wanted: Package) -> str:
    """The line of a wheel that is not the list's, where that is allowed."""
    found = f"{path.name} in the wheelhouse: found SHA-256 {digest(path)}"
    expected = wanted.hashes.replace(" --hash=sha256:", " ").strip() or "none"
    if not os.environ.get("UNLOCKED_WHEELS"):
        hint = "hint: compare it with its source; UNLOCKED_WHEELS=1 builds with the wheelhouse's own wheels"
        sys.exit(f"error: {found}, expected one of the list's for {wanted.name}=={wanted.version}: {expected}\n{hint}")
    say(f"{found}, not the list's for {wanted.name}=={wanted.version}: taken, as UNLOCKED_WHEELS says")
    return f"{wanted.name} @ {path.resolve().as_uri()}"


def is_version(found: str, wanted: str) -> bool:
    """As pip compares: a version without a local part takes any."""
    return found == wanted or ("+" not in wanted and found.partition("+")[0] == wanted)


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal; Python 3.10 has no hashlib.file_digest."""
    found = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(1024 * 1024):
            found.update(block)
    return found.hexdigest()


def say(line: str) -> None:
    sys.stderr.write(f"warning: {line}\n")


if __name__ == "__main__":
    main()
