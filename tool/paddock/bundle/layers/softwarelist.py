"""The software in a layer: packages of Debian and of Python, and licence texts, as its files list them.

They are collected while the layer's bytes go past; the SBOM of an image is made from them. Whiteouts are
kept, so that a package that a later layer removes is not listed for the image.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from enum import StrEnum

from paddock.bundle.layers.rawlayer import RawLayer
from paddock.bundle.layers.tarwalk import Kind, Piece, TarWalker

LARGEST_FILE = 4 << 20  # bytes of a list or a licence that is read at all

_DPKG = "var/lib/dpkg/status"
_METADATA = re.compile(r".*\.dist-info/METADATA")
_LICENCE = re.compile(
    r"usr/share/doc/[^/]+/copyright|.*\.dist-info/(licenses/.+|(LICEN[CS]E|COPYING|NOTICE)[^/]*)",
    re.IGNORECASE,
)
_WHITEOUT = ".wh."
_OPAQUE_WHITEOUT = ".wh..wh..opq"


class Origin(StrEnum):
    """The kind of a package; the value is the type in its package URL."""

    DEBIAN = "deb"
    PYTHON = "pypi"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Package:
    """An installed package. `licence` is what it declares: an SPDX expression if `expression` is set."""

    origin: Origin
    name: str
    version: str
    architecture: str = ""
    licence: str = ""
    expression: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A file that lists packages, and the packages."""

    path: str
    packages: tuple[Package, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A file with a licence, and its text."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """The software in a layer or an image. `hidden` are paths of lower layers that the layer removes."""

    lists: tuple[Listed, ...] = ()
    licences: tuple[Text, ...] = ()
    hidden: tuple[str, ...] = ()


class SoftwareReader:
    """Collects the software of one layer: from all its bytes with `feed`, or by reading parts with `skim`."""

    def __init__(self) -> None:
        self._walker = TarWalker()
        self._fed = 0
        self._wanted: list[Piece] = []
        self._bodies: dict[str, bytearray] = {}
        self._hidden: list[str] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the layer."""
        for piece in self._walker.feed(data):
            path = _normal(piece.path)
            if piece.kind is Kind.HEADER and posixpath.basename(path).startswith(_WHITEOUT):
                self._hidden.append(_hidden_by(path))
            elif piece.kind is Kind.BODY and piece.size <= LARGEST_FILE and _is_wanted(path):
                self._wanted.append(piece)
                self._bodies[path] = bytearray()
        for piece in self._wanted:
            start = max(0, piece.offset - self._fed)
            self._bodies[_normal(piece.path)] += data[start : max(start, piece.end - self._fed)]
        self._fed += len(data)
        self._wanted = [piece for piece in self._wanted if piece.end > self._fed]

    def skim(self, layer: RawLayer) -> None:
        """Take a whole layer, but read no more of it than is needed."""
        while self._fed < layer.size:
            left = layer.size - self._fed
            if self._wanted:
                self.feed(layer.read_at(self._fed, min(self._wanted[0].end - self._fed, left)))
            elif skipped := min(self._walker.skippable, left):
                self._walker.skip(skipped)
                self._fed += skipped
            else:
                self.feed(layer.read_at(self._fed, min(self._walker.needed, left)))

    def software(self) -> Software:
        """The software of the layer, once all of it was taken."""
        texts = {path: body.decode("utf-8", "replace") for path, body in sorted(self._bodies.items())}
        licences = {path: text for path, text in texts.items() if _is_licence(path)}
        lists = {path: text for path, text in texts.items() if path not in licences}
        return Software(
            lists=tuple(
                Listed(path=path, packages=tuple(sorted(_packages(path, text))))
                for path, text in lists.items()
            ),
            licences=tuple(Text(path=path, text=text) for path, text in licences.items()),
            hidden=tuple(sorted(self._hidden)),
        )


def overlaid(layers: Iterable[Software]) -> Software:
    """The software of an image with these layers, from its lowest layer to its top."""
    lists: dict[str, Listed] = {}
    licences: dict[str, Text] = {}
    for layer in layers:
        lists = {path: listed for path, listed in lists.items() if not _is_hidden(path, layer.hidden)}
        lists |= {listed.path: listed for listed in layer.lists}
        licences = {path: text for path, text in licences.items() if not _is_hidden(path, layer.hidden)}
        licences |= {text.path: text for text in layer.licences}
    return Software(
        lists=tuple(lists[path] for path in sorted(lists)),
        licences=tuple(licences[path] for path in sorted(licences)),
    )


def _normal(path: str) -> str:
    return posixpath.normpath(path).lstrip("/")


def _is_wanted(path: str) -> bool:
    return path == _DPKG or _METADATA.fullmatch(path) is not None or _is_licence(path)


def _is_licence(path: str) -> bool:
    return _LICENCE.fullmatch(path) is not None


def _hidden_by(whiteout: str) -> str:
    """The path that a whiteout hides; with a trailing slash where it hides only what is below the path."""
    folder, name = posixpath.split(whiteout)
    return folder + "/" if name == _OPAQUE_WHITEOUT else posixpath.join(folder, name.removeprefix(_WHITEOUT))


def _is_hidden(path: str, hidden: Iterable[str]) -> bool:
    return any(path == top or path.startswith(top.removesuffix("/") + "/") for top in hidden)


def _packages(path: str, text: str) -> Iterator[Package]:
    return _debian(text) if path == _DPKG else _python(text)


def _debian(status: str) -> Iterator[Package]:
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            yield Package(
                origin=Origin.DEBIAN,
                name=fields["Package"],
                version=fields.get("Version", ""),
                architecture=fields.get("Architecture", ""),
            )


def _python(text: str) -> Iterator[Package]:
    headers = HeaderParser().parsestr(text)
    if not headers.get("Name"):
        return
    expression = str(headers.get("License-Expression") or "")
    declared = _declared(str(headers.get("License") or ""), headers.get_all("Classifier") or [])
    yield Package(
        origin=Origin.PYTHON,
        name=str(headers["Name"]),
        version=str(headers.get("Version") or ""),
        licence=expression or declared,
        expression=bool(expression),
    )


def _declared(licence: str, classifiers: Iterable[str]) -> str:
    """The licence in words: the field where it is short, else the classifiers.

    Some packages have the whole text of their licence in the field.
    """
    if licence and "\n" not in licence:
        return licence
    names = [name for name in classifiers if name.startswith("License :: ")]
    return "; ".join(name.rpartition(" :: ")[2] for name in names)
