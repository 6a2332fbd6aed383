"""A few files of a layer with their hashes, found without reading all of it, for the proof of an import.

Windows of the tar are read, and members in them found by the checksums of their headers. Such a file may be
hidden by a layer above, or lie in a tar within the tar: `is_visible` settles that for the few files where it
matters.
"""

from __future__ import annotations

import io
import itertools
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from paddock.bundle.format.digests import sha256
from paddock.bundle.layers.rawlayer import RawLayer
from paddock.bundle.layers.tarwalk import Kind, walk

WINDOW = 2 << 20  # bytes read at one place
_BLOCK = tarfile.BLOCKSIZE
# An engine puts files of its own over these in every container (moby, daemon/initlayer).
_OF_ENGINES = frozenset({".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"})
_WHITEOUT = ".wh."
_OPAQUE_WHITEOUT = ".wh..wh..opq"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A file: its path without a leading slash, the SHA-256 of its content in hex, and its size."""

    path: str
    sha256: str
    size: int


def samples(layer: RawLayer, *, windows: int, most: int) -> list[Sample]:
    """At most `most` files from each of `windows` evenly spread windows of a layer."""
    by_path: dict[str, Sample] = {}
    for number in range(windows):
        start = layer.size * number // windows // _BLOCK * _BLOCK
        window = layer.read_at(start, min(WINDOW, layer.size - start))
        in_window = _in_window(window, from_start=start == 0)
        by_path |= {sample.path: sample for sample in itertools.islice(in_window, most)}
    return list(by_path.values())


def is_visible(path: str, layer: RawLayer, above: Iterable[RawLayer]) -> bool:
    """Whether a file that `samples` found is in `layer`, and no layer above hides it."""
    if sum(1 for name in _names(layer) if name == path) != 1:
        return False  # not a member, or a later member of the same name replaces it
    hiding = {path, *_whiteouts(path)}
    return not any(name in hiding for upper in above for name in _names(upper))


def _in_window(window: bytes, *, from_start: bool) -> Iterator[Sample]:
    """The plain files that lie completely in a window, which may begin anywhere in the layer.

    The first member does not count unless the window begins `from_start` of the layer: a long name or pax
    records of its may lie before the window.
    """
    start = 0 if from_start else _first_header(window)
    if start is None:
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(window[start:]), mode="r:", errorlevel=0) as archive:
            for number, member in enumerate(archive):
                if start + member.offset_data + member.size > len(window):
                    return
                if from_start or number:
                    yield from _sample(archive, member)
    except (tarfile.TarError, ValueError):
        return


def _sample(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[Sample]:
    """A plain file that has content; nothing for any other member, or for a file that engines replace."""
    if not member.isreg() or member.issparse() or not member.size:
        return
    path = posixpath.normpath(member.name).lstrip("/")
    content = archive.extractfile(member)
    if content is not None and path not in _OF_ENGINES:
        data = content.read()
        yield Sample(path=path, sha256=sha256(data), size=len(data))


def _first_header(window: bytes) -> int | None:
    """The offset of the first block with the magic and the checksum of a tar header."""
    for offset in range(0, len(window) - _BLOCK, _BLOCK):
        block = window[offset : offset + _BLOCK]
        if block[257:262] == b"ustar" and _is_header(block):
            return offset
    return None


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _names(layer: RawLayer) -> Iterator[str]:
    for piece in walk(layer.stream()):
        if piece.kind is Kind.HEADER and piece.path:
            yield posixpath.normpath(piece.path).lstrip("/")


def _whiteouts(path: str) -> Iterator[str]:
    """The whiteouts in a layer above that remove a path, or a folder on the way to it."""
    while path:
        parent, _, last = path.rpartition("/")
        yield posixpath.join(parent, _WHITEOUT + last)
        yield posixpath.join(parent, _OPAQUE_WHITEOUT)
        path = parent
