"""Unpacking a tar from somewhere else so that nothing can land outside its directory.

Stricter than tarfile's `data` filter, which Python 3.11.2 (Debian 12) does not have: plain tars only, no
absolute names, no `..`, no devices or pipes, no sparse files, no name twice. A link inside the tree becomes a
copy of the file that it names; any other link is refused. What is written can neither exceed the disk nor
twice the archive, and no header of it takes memory.
"""

from __future__ import annotations

import posixpath
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from paddock import durable
from paddock.errors import PreflightError, WeightsError
from paddock.report import Advance, Reporter
from paddock.weights.diskspace import require_room
from paddock.weights.filenames import hidden, safe_path

BLOCK = tarfile.BLOCKSIZE
LARGEST_HEADER = 64 * 1024  # bytes of a long name or of further attributes, which tarfile reads whole
MOST_MEMBERS = 10_000  # upstream's tars have two dozen
_HEADERS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class _Bounded(tarfile.TarInfo):
    """A header that is looked at before tarfile reads what it announces."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Bounded:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _HEADERS and header.size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes, more than {LARGEST_HEADER:,}")
        return header


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What an archive would write: the member of each file, the file that each link names, bytes in all."""

    files: dict[PurePosixPath, tarfile.TarInfo]
    links: dict[PurePosixPath, PurePosixPath]
    size: int


def unpack(archive: Path, into: Path, *, report: Reporter) -> None:
    """Unpack `archive` into the new directory `into`.

    Raises WeightsError before anything is written when the archive is unsafe or cut, PreflightError when the
    disk is too small.
    """
    try:
        with tarfile.open(archive, mode="r:", tarinfo=_Bounded) as tar:
            plan = _plan(tar, archive)
            into.mkdir(parents=True)
            require_room(into, plan.size, f"the files in {archive.name}")
            with report.progress(f"unpack {archive.name}", total=plan.size, unit="bytes") as advance:
                _write(tar, plan, into, advance)
    except (tarfile.TarError, RecursionError) as broken:  # headers of headers of headers
        hint = "it may be incomplete, or not a tar at all; fetch or copy it again"
        raise WeightsError(
            f"{archive}: cannot be unpacked ({broken}), expected a plain tar", hint=hint
        ) from broken


def _plan(tar: tarfile.TarFile, archive: Path) -> _Plan:
    files: dict[PurePosixPath, tarfile.TarInfo] = {}
    wanted: dict[PurePosixPath, PurePosixPath] = {}
    directories: set[PurePosixPath] = set()
    for count, member in enumerate(tar):
        if count >= MOST_MEMBERS:
            raise WeightsError(f"{archive}: found more than {MOST_MEMBERS:,} files, expected a weight set")
        if member.isdir() and PurePosixPath(member.name) == PurePosixPath():  # "./"
            continue
        path = safe_path(member.name, str(archive))
        if path in files or path in wanted:
            raise WeightsError(f"{archive}: found {path} twice, expected each name once")
        if member.isdir():
            directories.add(path)
        elif member.issym() or member.islnk():
            wanted[path] = _link_target(member, path, archive)
        elif member.isreg() and not member.issparse():
            files[path] = member
        else:
            raise WeightsError(
                f"{archive}: found {path}, a special file; expected files and directories only"
            )
    _require_end(tar, archive)
    links = {path: _followed(path, wanted, files, archive) for path in wanted}
    _require_tree({*files, *links}, directories, archive)
    members = [*files.values(), *(files[target] for target in links.values())]
    size = sum(member.size for member in members)
    if size > 2 * archive.stat().st_size:
        raise WeightsError(f"{archive}: found {size:,} bytes of files, expected at most twice the archive")
    return _Plan(files=files, links=links, size=size)


def _link_target(member: tarfile.TarInfo, path: PurePosixPath, archive: Path) -> PurePosixPath:
    """Return the name inside the archive that a link leads to.

    That of a hard link counts from the top of the archive, that of a symbolic link from its own place.
    """
    start = "" if member.islnk() else str(path.parent)
    target = PurePosixPath(posixpath.normpath(posixpath.join(start, member.linkname)))
    if target.is_absolute() or ".." in target.parts:
        raise WeightsError(
            f"{archive}: found {path}, a link to {member.linkname}; expected links inside the set only"
        )
    return target


def _followed(
    path: PurePosixPath,
    links: dict[PurePosixPath, PurePosixPath],
    files: dict[PurePosixPath, tarfile.TarInfo],
    archive: Path,
) -> PurePosixPath:
    """Return the regular file at the end of a chain of links."""
    target = links[path]
    seen = {path}
    while target in links and target not in seen:
        seen.add(target)
        target = links[target]
    if target not in files:
        raise WeightsError(
            f"{archive}: found {path}, a link to {links[path]}; expected it to name a file in the archive"
        )
    return target


def _require_end(tar: tarfile.TarFile, archive: Path) -> None:
    """An archive ends with a block of zeros; tarfile takes a cut, or damage in the middle, for the end."""
    with archive.open("rb") as raw:
        raw.seek(tar.offset)
        if raw.read(BLOCK) != bytes(BLOCK):
            raise WeightsError(
                f"{archive}: found no end mark at byte {tar.offset:,}, expected a complete archive",
                hint="it was cut or damaged on the way; fetch or copy it again",
            )


def _require_tree(leaves: set[PurePosixPath], directories: set[PurePosixPath], archive: Path) -> None:
    """No name may be both a file and a directory."""
    inner = {parent for path in {*leaves, *directories} for parent in path.parents} | directories
    if both := sorted(str(path) for path in inner & leaves):
        raise WeightsError(f"{archive}: found {both[0]} as a file and as a directory, expected one")


def _write(tar: tarfile.TarFile, plan: _Plan, into: Path, advance: Advance) -> None:
    members = {**plan.files, **{path: plan.files[target] for path, target in plan.links.items()}}
    for path, member in members.items():
        if not hidden(path):
            _copy(tar, member, into / path)
        advance(member.size)


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    if content is None:
        raise WeightsError(f"{to}: found no content in the archive, expected a file")
    with content, durable.writing(to, raising=PreflightError), to.open("xb") as out:
        shutil.copyfileobj(content, out, 1024 * 1024)
    if (found := to.stat().st_size) != member.size:
        raise WeightsError(f"{to}: found {found:,} bytes in the archive, expected {member.size:,}")
