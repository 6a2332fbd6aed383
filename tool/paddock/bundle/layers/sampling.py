"""A few files of a layer with their hashes, found without reading all of it: what a proof of an import
compares.

Windows of the tar are read, and members found in them by the checksum of their headers. What was found may be
hidden by a layer above, or lie in a tar within the tar: `visible` settles that for the few files where it
matters.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from paddock.bundle.layers.rawlayer import RawLayer
from paddock.bundle.layers.tarwalk import Kind, walk

WINDOW = 2 << 20  # bytes read at one place
_BLOCK = tarfile.BLOCKSIZE
_WHITEOUT = ".wh."
# An engine puts files of its own over these in every container (moby daemon/initlayer).
_OF_ENGINES = frozenset({".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"})
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One file: its path without a slash in front, the SHA-256 of its content in hex, and its size."""

    path: str
    sha256: str
    size: int


def samples(layer: RawLayer, *, places: int, each: int) -> list[Sample]:
    """At most `each` files from each of `places` evenly spread windows of a layer."""
    found: dict[str, Sample] = {}
    for place in range(places):
        start = layer.size * place // places // _BLOCK * _BLOCK
        window = layer.read_at(start, min(WINDOW, layer.size - start))
        for sample in list(_in_window(window, whole=start == 0))[:each]:
            found[sample.path] = sample
    return list(found.values())


def visible(path: str, layer: RawLayer, above: Iterable[RawLayer]) -> bool:
    """Whether a file that `samples` found is a member of its layer, and none of the layers above it hides it."""
    if sum(1 for name in _names(layer) if name == path) != 1:
        return False  # or a later member of the same name counts
    hiding = {path, *_whiteouts(path)}
    return not any(name in hiding for each in above for name in _names(each))


def _in_window(window: bytes, *, whole: bool) -> Iterator[Sample]:
    """The whole, small, plain files; the first member is left out where what stood before it is not known."""
    start = 0 if whole else _first_header(window)
    if start is None:
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(window[start:]), mode="r:", errorlevel=0) as archive:
            for number, member in enumerate(archive):
                if start + member.offset_data + member.size > len(window):
                    return
                content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
                if content is not None and member.size and (whole or number):
                    data = content.read()
                    name = posixpath.normpath(member.name).lstrip("/")
                    if name not in _OF_ENGINES:
                        yield Sample(path=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    except (tarfile.TarError, ValueError):
        return


def _first_header(window: bytes) -> int | None:
    """The first block that has the checksum of a header."""
    for at in range(0, len(window) - _BLOCK, _BLOCK):
        if window[at + 257 : at + 262] == b"ustar":
            try:
                tarfile.TarInfo.frombuf(window[at : at + _BLOCK], "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                continue
            return at
    return None


def _names(layer: RawLayer) -> Iterator[str]:
    for piece in walk(layer.stream()):
        if piece.kind is Kind.HEADER and piece.path:
            yield posixpath.normpath(piece.path).lstrip("/")


def _whiteouts(path: str) -> Iterator[str]:
    """The members of a layer above that take a path away, or a folder on the way to it."""
    while path:
        parent, _, last = path.rpartition("/")
        yield posixpath.join(parent, _WHITEOUT + last)
        yield posixpath.join(parent, _OPAQUE)
        path = parent
