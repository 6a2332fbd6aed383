#!/usr/bin/env python3
"""Writes the hashes of Python packages: constraints.txt, templates/image/*/*.lock.txt and templates/locks.

The first two are resolved again from pyproject.toml. In templates/locks names and versions stay, and get the
hashes of the files that the package index has for the image's Python and system. A vendor's package keeps
what its line says where the vendor's index does not answer.

usage: lock-packages.py [--upgrade]
  --upgrade  take the newest versions for constraints.txt; else only what pyproject.toml asks for changes
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paddock import paths
from paddock.building import doctor
from paddock.errors import ConfigurationError
from paddock.matrix import locks
from paddock.matrix.load import load_registry, load_shared_images
from paddock.matrix.locks import Locked
from paddock.matrix.records import Image, Platform

CHECKOUT = paths.checkout()
IMAGE = CHECKOUT / "templates/image"
UV = Path(sys.executable).with_name("uv")  # that of constraints.txt
MACHINES = {Platform.AMD64: "x86_64", Platform.ARM64: "aarch64"}
DEBIAN_12, UBUNTU_20 = (
    "2_36",
    "2_31",
)  # versions of glibc; the latter is the vendor's base with a Python of its own
COMPILED = "llama-cpp-python"  # its source distribution is what an image is made from
UNKNOWN = "no hash is known: the vendor's index could not be asked"


@dataclass(frozen=True, kw_only=True, slots=True)
class List:
    """One list of packages of an image, and for which Python and system its files are."""

    path: Path
    image: Image
    platform: Platform

    @property
    def options(self) -> tuple[str, ...]:
        """What uv must know to choose the files."""
        glibc = DEBIAN_12 if self.image.base.debootstrap else UBUNTU_20
        machine = f"{MACHINES[self.platform]}-manylinux_{glibc}"
        return "--python-version", self.image.python, "--python-platform", machine


def main() -> int:
    """Write all of it."""
    universal(sys.argv[1:] == ["--upgrade"])
    for package_list in lists():
        packages = [*hashed(package_list), *stand_in(package_list)]
        package_list.path.write_text("".join(f"{package.line}\n" for package in packages), "utf-8")
        say(f"{package_list.path.name}: {len(packages)} packages")
    return 0


# --- what pyproject.toml asks for ---------------------------------------------------------------------------


def universal(upgrade: bool) -> None:
    """constraints.txt, and parts of it: uv for images, what builds paddock, what it runs with."""
    constraints = CHECKOUT / "constraints.txt"
    newest = ["--upgrade"] if upgrade else []
    everything = ("pyproject.toml", *groups("build", "check", "test", "images"))
    resolve(everything, constraints, newest)
    held = ["--constraint", "constraints.txt"]
    resolve(groups("images"), IMAGE / "shared/uv.lock.txt", held)
    resolve(groups("packaging"), IMAGE / "tool/build.lock.txt", held)
    resolve(("pyproject.toml",), IMAGE / "tool/tool.lock.txt", held)


def groups(*names: str) -> tuple[str, ...]:
    """Dependency groups as uv takes them."""
    return tuple(word for name in names for word in ("--group", name))


def resolve(what: Sequence[str], to: Path, options: Sequence[str]) -> None:
    """One file for every system and every Python from 3.11 on."""
    output = ["--output-file", str(to)]
    uv(
        *what,
        *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate"),
        *("--custom-compile-command", "make lock"),
        *options,
        *output,
    )


# --- the lists of images ------------------------------------------------------------------------------------


def lists() -> Iterator[List]:
    """Every list in templates/locks, once."""
    for target in load_registry(paths.templates()).targets.values():
        for name, image in doctor.images_of(target).items():
            yield from lists_of(name, image, target.platforms)
    for name, shared in load_shared_images(paths.templates()).items():
        yield from lists_of(name, shared.image, shared.platforms)


def lists_of(name: str, image: Image, platforms: Sequence[Platform]) -> Iterator[List]:
    """The lists of one image that there are."""
    for platform in platforms:
        path = paths.templates() / "locks" / f"{name}.{platform.rpartition('/')[2]}.txt"
        if path.is_file():
            yield List(path=path, image=image, platform=platform)


def hashed(package_list: List) -> list[Locked]:
    """The packages of a list with the hashes of their files."""
    packages = [package for package in locks.read(package_list.path) if not package.stand_in]
    vendor = package_list.image.vendor
    others = [package for package in packages if package.name != vendor]
    files = known_files(others, package_list.options)
    if missing := [package.name for package in others if package.name not in files]:
        raise ConfigurationError(
            f"{package_list.path}: no file of {', '.join(missing)} fits, expected one of each"
        )
    found = [replace(package, hashes=files[package.name], remark="") for package in others]
    found += [vendors(package, package_list) for package in packages if package.name == vendor]
    return sorted(found, key=lambda package: package.name)


def vendors(package: Locked, package_list: List) -> Locked:
    """A vendor's package: as its index has it, else as it was."""
    index = ("--default-index", str(package_list.image.index))
    try:
        files = known_files([package], (*package_list.options, *index))
    except subprocess.CalledProcessError:
        say(f"{package_list.path.name}: {package.name}: {package_list.image.index} does not answer")
        return package if package.hashes or package.remark else replace(package, remark=UNKNOWN)
    return replace(package, hashes=files[package.name], remark="")


def stand_in(package_list: List) -> list[Locked]:
    """What a trial takes in the place of the vendor's package."""
    if not package_list.image.stand_in:
        return []
    name, _, version = package_list.image.stand_in.partition("==")
    package = Locked(name=name, version=version, hashes=(), stand_in=True)
    return [replace(package, hashes=known_files([package], package_list.options)[name])]


def known_files(packages: Sequence[Locked], options: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name -> hashes of the wheels that fit."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, answer = Path(folder, "in.txt"), Path(folder, "pylock.toml")
        lines = (f"{package.name}=={package.version}\n" for package in packages)
        wanted.write_text("".join(lines), "utf-8")
        uv(str(wanted), "--no-deps", "--format", "pylock.toml", "--output-file", str(answer), *options)
        entries = tomllib.loads(answer.read_text("utf-8"))["packages"]
    files = {
        entry["name"]: [entry["sdist"]] if entry["name"] == COMPILED else entry.get("wheels", [])
        for entry in entries
    }
    hashes = {
        name: sorted(file["hashes"]["sha256"] for file in of_package) for name, of_package in files.items()
    }
    return {name: tuple(values) for name, values in hashes.items() if values}


def uv(*arguments: str) -> None:
    """Run `uv pip compile` at the top of the checkout."""
    subprocess.run([UV, "pip", "compile", "--quiet", *arguments], cwd=CHECKOUT, check=True)


def say(line: str) -> None:
    """One line to stderr."""
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigurationError as failure:
        sys.exit(f"error: {failure.message}")
