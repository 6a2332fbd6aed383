"""What software a layer holds, seen while its bytes go past: Debian's list of packages, Python's, and their
licences.

Only what the files themselves say. Whiteouts are remembered, so that a package that a later layer removes is
not listed for the image.
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
_OPAQUE = ".wh..wh..opq"


class Origin(StrEnum):
    """Who packed a package; the word is the type in its package URL."""

    DEBIAN = "deb"
    PYTHON = "pypi"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Package:
    """One installed package. `licence` is what it says of itself, an SPDX expression only where `expression`
    is set.
    """

    origin: Origin
    name: str
    version: str
    architecture: str = ""
    licence: str = ""
    expression: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A file that lists packages, and what it says."""

    path: str
    packages: tuple[Package, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A licence as it lies in the image."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """What one layer has of these, and the paths below which it hides what lower layers have."""

    lists: tuple[Listed, ...] = ()
    licences: tuple[Text, ...] = ()
    hidden: tuple[str, ...] = ()


class SoftwareReader:
    """Takes a layer's tar in pieces of any size, or reads in it what it needs."""

    def __init__(self) -> None:
        self._walker = TarWalker()
        self._fed = 0
        self._wanted: list[Piece] = []
        self._bodies: dict[str, bytearray] = {}
        self._hidden: list[str] = []

    def feed(self, data: bytes) -> None:
        """The next bytes of the layer."""
        for piece in self._walker.feed(data):
            path = _normal(piece.path)
            if piece.kind is Kind.HEADER and posixpath.basename(path).startswith(_WHITEOUT):
                self._hidden.append(_hidden_by(path))
            elif piece.kind is Kind.BODY and piece.size <= LARGEST_FILE and _is_wanted(path):
                self._wanted.append(piece)
                self._bodies[path] = bytearray()
        end = self._fed + len(data)
        for piece in self._wanted:
            start = max(piece.offset, self._fed)
            self._bodies[_normal(piece.path)] += data[
                start - self._fed : max(start, min(piece.end, end)) - self._fed
            ]
        self._wanted = [piece for piece in self._wanted if piece.end > end]
        self._fed = end

    def skim(self, layer: RawLayer) -> None:
        """A whole layer, of which no more is read than is needed."""
        while self._fed < layer.size:
            left = layer.size - self._fed
            if self._wanted:
                self.feed(layer.read_at(self._fed, min(self._wanted[0].end - self._fed, left)))
            elif passed := min(self._walker.body, left):
                self._walker.skip(passed)
                self._fed += passed
            else:
                self.feed(layer.read_at(self._fed, min(self._walker.wanted, left)))

    def software(self) -> Software:
        """What was found."""
        texts = {path: body.decode("utf-8", "replace") for path, body in sorted(self._bodies.items())}
        lists = {
            path: tuple(sorted(_packages(path, text)))
            for path, text in texts.items()
            if not _is_licence(path)
        }
        return Software(
            lists=tuple(Listed(path=path, packages=packages) for path, packages in lists.items()),
            licences=tuple(Text(path=path, text=text) for path, text in texts.items() if _is_licence(path)),
            hidden=tuple(sorted(self._hidden)),
        )


def overlaid(layers: Iterable[Software]) -> Software:
    """What is left of it in an image, from its lowest layer to its top."""
    lists: dict[str, Listed] = {}
    licences: dict[str, Text] = {}
    for layer in layers:
        lists = {path: each for path, each in lists.items() if not _is_hidden(path, layer.hidden)}
        licences = {path: each for path, each in licences.items() if not _is_hidden(path, layer.hidden)}
        lists.update((each.path, each) for each in layer.lists)
        licences.update((each.path, each) for each in layer.licences)
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
    """The path that a whiteout hides; with a / at its end where it hides only what is below."""
    folder, name = posixpath.split(whiteout)
    return folder + "/" if name == _OPAQUE else posixpath.join(folder, name.removeprefix(_WHITEOUT))


def _is_hidden(path: str, hidden: Iterable[str]) -> bool:
    return any(path == each or path.startswith(each.removesuffix("/") + "/") for each in hidden)


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
    expression = str(headers.get("License-Expression") or "")
    if headers.get("Name"):
        yield Package(
            origin=Origin.PYTHON,
            name=str(headers["Name"]),
            version=str(headers.get("Version") or ""),
            licence=expression
            or _stated(str(headers.get("License") or ""), headers.get_all("Classifier") or []),
            expression=bool(expression),
        )


def _stated(licence: str, classifiers: Iterable[str]) -> str:
    """The licence in words: a short field, else the classifiers; some packages put the whole text into the
    field.
    """
    if licence and "\n" not in licence:
        return licence
    return "; ".join(each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: "))
