#!/usr/bin/env python3
"""Gathers the corpus, .paddock/corpus/files: test files of the source packages that packages.yaml lists.

usage: gather.py [--update]
  --update  take the versions of today, and write them with their hashes to packages.yaml

An archive that is there already is not fetched again. A file that two packages have counts for the first of
them.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import requests

import packages
from packages import Archive, Package
from paddock.errors import ConfigurationError, PaddockError
from unpacking import MOST_PDFS, MOST_PICTURES, unpack

REPOSITORY = Path(__file__).parents[2]
CORPUS = REPOSITORY / ".paddock/corpus"
FILES = CORPUS / "files"
TIMEOUT = 180.0  # seconds without a byte
CHUNK = 1 << 20


def main() -> None:
    """Fetch and unpack what is missing."""
    parser = argparse.ArgumentParser(description="Gather the corpus.")
    parser.add_argument("--update", action="store_true", help="take today's versions and write packages.yaml")
    update = parser.parse_args().update
    pinned = packages.read()
    archives = list(located(pinned, update=update))
    if update:
        packages.FILE.write_text(packages.text_of(archives), "utf-8")
    for archive in archives:
        count = unpacked(archive, fetched(archive))
        say(f"{archive.registry}: {archive.package.name} {archive.package.version}: {count} files")
    remove_doubles([FILES / archive.folder for archive in archives])


def located(pinned: packages.Packages, *, update: bool) -> Iterator[Archive]:
    """Where each archive is. Raises ConfigurationError where a registry has another one than is pinned."""
    names = [entry.name if update else f"{entry.name}=={entry.version}" for entry in pinned.pypi]
    known = {(registry, entry.name): entry for registry, entry in pinned.each()}
    debian = packages.in_debian([entry.name for entry in pinned.debian], CORPUS / "apt")
    for archive in (*packages.on_pypi(names), *debian):
        expected = known[archive.registry, archive.package.name]
        if not update and archive.package != expected:
            raise ConfigurationError(
                f"{archive.package.name}: {archive.registry} has {_words(archive.package)}, "
                f"expected {_words(expected)}",
                hint="scripts/corpus/gather.py --update",
            )
        yield archive


def _words(package: Package) -> str:
    return f"{package.version} with SHA-256 {package.sha256}"


def fetched(archive: Archive) -> Path:
    """The archive on this disk. Raises ConfigurationError for bytes with another hash."""
    path = CORPUS / "archives" / f"{archive.folder}-{archive.package.sha256[:16]}"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    digest = hashlib.sha256()
    with requests.get(archive.address, stream=True, timeout=TIMEOUT) as answer, partial.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_content(CHUNK):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != archive.package.sha256:
        raise ConfigurationError(
            f"{archive.package.name}: found an archive with SHA-256 {digest.hexdigest()}, "
            f"expected {archive.package.sha256}"
        )
    return partial.replace(path)


def unpacked(archive: Archive, path: Path) -> int:
    """Have the files of the archive in their folder, and count them."""
    folder, mark = FILES / archive.folder, CORPUS / "unpacked" / f"{path.name}-{MOST_PDFS}-{MOST_PICTURES}"
    if not mark.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        count = unpack(path, folder)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(str(count), "utf-8")
    return int(mark.read_text("utf-8"))


def remove_doubles(folders: Sequence[Path]) -> None:
    """Keep one file of those with the same content."""
    seen: set[bytes] = set()
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest in seen:
            path.unlink()
        seen.add(digest)


def say(line: str) -> None:
    """One line to stderr."""
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    try:
        main()
    except PaddockError as error:
        say(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
        sys.exit(error.exit_code)
    except (requests.RequestException, tarfile.TarError, OSError) as failure:
        sys.exit(f"error: {failure}")
