"""An open bundle: its manifest, and random access to the bytes of its parts and files.

A bundle may be spread over several media, each given as a folder. Its parts laid end to end are one archive;
`read_at` reads anywhere in it without reading what lies before. Media are not trusted: only plain files are
opened, and no link is followed below the folders that the user named. Nothing is compared with its hash here,
except what `OpenBlob.stream` gives: that is the work of `paddock.bundle.check.verify`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath
from types import TracebackType

from paddock.bundle.format.digests import digest_of, sha256
from paddock.bundle.format.manifest import LARGEST, MANIFEST, File, Manifest, parse
from paddock.errors import BundleError, is_of_this_host, quoted, refusal, step_after

STEP = 1 << 20  # bytes that are read at once
_OPEN_PARTS = 8  # files that are kept open
_COPY_AGAIN = "take it from the workshop again; there `paddock verify DIR` says whether it was whole"
_PLAIN_ONLY = "a bundle has plain files only: remove this and copy the file again"


class OpenBundle:
    """A bundle whose manifest has been read and does not contradict itself; safe for several threads."""

    def __init__(self, manifest: Manifest, directories: tuple[Path, ...]) -> None:
        self.manifest, self.directories = manifest, directories
        self._chosen: dict[str, Path] = {}
        self._starts = [0, *accumulate(part.size for part in manifest.parts)]
        self._open: OrderedDict[int, int] = OrderedDict()  # the number of a part -> its file descriptor
        self._lock = threading.Lock()

    @classmethod
    def open(cls, directories: Sequence[Path]) -> OpenBundle:
        """The bundle in these folders, which need not hold all of its parts.

        Raises BundleError when there is no bundle in them, or more than one.
        """
        path, data = _only_manifest(directories)
        try:
            return cls(parse(data, where=str(path)), tuple(directories))
        except BundleError as refused:
            raise BundleError(refused.message, hint=refused.hint or _COPY_AGAIN) from None

    def __enter__(self) -> OpenBundle:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @property
    def folders(self) -> str:
        """The folders of the bundle, as a command names them."""
        return " ".join(map(quoted, self.directories))

    def close(self) -> None:
        """Close the parts that were read, so that the medium can be removed."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])

    def copies(self, name: str) -> tuple[Path, ...]:
        """The paths of a file of the bundle, one for each folder that has it.

        Raises BundleError for a link on the way.
        """
        found = (locate(directory, name) for directory in self.directories)
        return tuple(path for path in found if path is not None)

    def use(self, name: str, path: Path) -> None:
        """From now on read the file `name` from `path`, one of its copies, because another one is bad."""
        self.close()
        self._chosen[name] = path

    def path(self, name: str) -> Path:
        """Where a file of the bundle is read from. Raises BundleError when no folder has it."""
        if name in self._chosen:
            return self._chosen[name]
        copies = self.copies(name)
        if not copies:
            raise BundleError(
                f"{_named(self.directories)}: found no {name}, a file of bundle {self.manifest.id}",
                hint="copy it again, or name the folder that has it as well",
            )
        return copies[0]

    def read_file(self, file: File, limit: int) -> bytes:
        """A file of the manifest, of at most `limit` bytes. Raises BundleError unless its hash is right."""
        path = self.path(file.path)
        data = read_whole(path, limit)
        if sha256(data) != file.sha256:
            raise BundleError(
                f"{path}: is not what {MANIFEST} says",
                hint=f"copy the bundle again; `paddock verify {self.folders}` says more",
            )
        return data

    @property
    def size(self) -> int:
        """Bytes of all parts together, which is the length of the archive."""
        return self._starts[-1]

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset` of the archive. Raises BundleError behind its end."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise BundleError(f"{self.manifest.archive}: has no bytes {offset} to {offset + length}")
        pieces: list[bytes] = []
        number = bisect_right(self._starts, offset) - 1
        while length:
            within = min(length, self._starts[number + 1] - offset)
            pieces.append(self._read_part(number, offset - self._starts[number], within))
            offset, length, number = offset + within, length - within, number + 1
        return b"".join(pieces)

    def open_blob(self, digest: str) -> OpenBlob:
        """A blob of the archive. Raises BundleError when the bundle does not carry it."""
        blob = self.manifest.blob(digest)
        if blob is None:
            raise BundleError(f"bundle {self.manifest.id}: does not carry the blob {digest}")
        return OpenBlob(self, digest=digest, size=blob.size, start=blob.offset)

    def _read_part(self, number: int, offset: int, length: int) -> bytes:
        part = self.manifest.parts[number]
        try:
            with self._lock:
                data = _pread(self._descriptor(number), offset, length)
        except OSError as failed:
            self.close()
            raise unreadable(part.name, failed, near=self.directories[0]) from failed
        if len(data) != length:
            raise BundleError(
                f"{part.name}: found its end at byte {offset + len(data)}, expected {part.size} bytes"
            )
        return data

    def _descriptor(self, number: int) -> int:
        if number not in self._open:
            if len(self._open) >= _OPEN_PARTS:
                os.close(self._open.popitem(last=False)[1])
            self._open[number] = open_plain(self.path(self.manifest.parts[number].name))
        self._open.move_to_end(number)
        return self._open[number]


class OpenBlob:
    """One blob of an open bundle."""

    def __init__(self, bundle: OpenBundle, *, digest: str, size: int, start: int) -> None:
        self.digest, self.size = digest, size
        self._bundle, self._start = bundle, start

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes of the blob from `offset`, not compared with its digest."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise BundleError(f"the blob {self.digest}: has no bytes {offset} to {offset + length}")
        return self._bundle.read_at(self._start + offset, length)

    def stream(self) -> Iterator[bytes]:
        """The whole blob in pieces of at most 1 MiB.

        Raises BundleError after the last piece unless they are what the digest says: a medium can fail
        between the check and the import.
        """
        hasher = hashlib.sha256()
        for offset in range(0, self.size, STEP):
            piece = self.read_at(offset, min(STEP, self.size - offset))
            hasher.update(piece)
            yield piece
        if digest_of(hasher) != self.digest:
            raise BundleError(
                f"the blob {self.digest}: found {digest_of(hasher)}",
                hint=f"the medium gave other bytes; `paddock verify {self._bundle.folders}` names the file",
            )

    def read(self, limit: int) -> bytes:
        """A small blob, compared with its digest. Raises BundleError when it has more than `limit` bytes."""
        if self.size > limit:
            raise BundleError(f"the blob {self.digest}: found {self.size} bytes, expected at most {limit}")
        return b"".join(self.stream())


def _only_manifest(directories: Sequence[Path]) -> tuple[Path, bytes]:
    """The path and the content of the one bundle.json in these folders, of which several may have a copy."""
    paths = [path for directory in directories if (path := locate(directory, MANIFEST))]
    if not paths:
        raise BundleError(
            f"{_named(directories)}: found no {MANIFEST}",
            hint="name the folder that holds it; where none does, an export was not finished,"
            " or not everything was copied",
        )
    data = read_whole(paths[0], LARGEST)
    for path in paths[1:]:
        if read_whole(path, LARGEST) != data:
            raise BundleError(
                f"{path}: belongs to another bundle than {paths[0]}",
                hint="name folders of one bundle only; an older export may still be on one of the media",
            )
    return paths[0], data


def _named(directories: Sequence[Path]) -> str:
    return ", ".join(str(directory) for directory in directories)


def locate(directory: Path, name: str) -> Path | None:
    """The path of the file `name` below `directory`; None where it is not there.

    The medium may have changed the letters of its name to upper or lower case. Raises BundleError for a link
    on the way, or a folder that cannot be read.
    """
    path = directory
    try:
        for part in PurePosixPath(name).parts:
            if path != directory and path.is_symlink():
                raise BundleError(f"{path}: is a link, expected a folder of the bundle", hint=_PLAIN_ONLY)
            child = _child(path, part)
            if child is None:
                return None
            path = child
    except OSError as failed:
        raise unreadable(str(path), failed) from failed
    return path


def _child(directory: Path, name: str) -> Path | None:
    exact = directory / name
    if os.path.lexists(exact):
        return exact
    if not directory.is_dir():
        return None
    folded = name.casefold()
    return min((path for path in directory.iterdir() if path.name.casefold() == folded), default=None)


def open_plain(path: Path) -> int:
    """A file descriptor for reading.

    Raises BundleError for anything but a plain file, OSError as the system does.
    """
    if path.is_symlink():
        raise BundleError(f"{path}: is a link, expected a file", hint=_PLAIN_ONLY)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError(f"{path}: is not a plain file", hint=_PLAIN_ONLY)
    return descriptor


def read_whole(path: Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes. Raises BundleError for a larger or unreadable one."""
    try:
        descriptor = open_plain(path)
        try:
            data = _pread(descriptor, 0, limit + 1)
        finally:
            os.close(descriptor)
    except OSError as failed:
        raise unreadable(str(path), failed) from failed
    if len(data) > limit:
        raise BundleError(f"{path}: found more than {limit} bytes, expected at most that", hint=_COPY_AGAIN)
    return data


def unreadable(name: str, failed: OSError, *, near: Path | None = None) -> BundleError:
    """The BundleError for what the system says about a file of a medium; `near` is where it should be.

    Raises PreflightError where that says nothing about the medium, such as too many open files.
    """
    if is_of_this_host(failed):
        raise refusal(failed, name) from failed
    return BundleError(f"{name}: cannot be read ({failed.strerror})", hint=step_after(failed, near or name))


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    """`length` bytes, or fewer at the end of the file; one system call may give fewer before it, too."""
    pieces: list[bytes] = []
    while length and (piece := os.pread(descriptor, min(length, 1 << 30), offset)):
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
