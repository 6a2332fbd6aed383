"""What the three sources of weights hold: Baidu's object store (BOS), Hugging Face and ModelScope.

Asks a source which files make a weight set and what it publishes about each. It downloads nothing. BOS gives
one tar a set and publishes no hash; Hugging Face and ModelScope give single files, each with a hash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import requests

from paddock.errors import SourceError, WeightsError
from paddock.matrix.records import Source, WeightSet
from paddock.report import Reporter
from paddock.weights.download import Patience, Published, read_json

ORDER = (Source.BOS, Source.HUGGINGFACE, Source.MODELSCOPE)
MODELSCOPE_LIMIT = 3000  # a listing of this length has been cut by the server, which does not say so
MODELSCOPE_BRANCH = "master"

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """Where the sources answer; mirrors replace them. `bos` None leaves the host of each set's own URL."""

    bos: str | None = None
    huggingface: str = "https://huggingface.co"
    modelscope: str = "https://www.modelscope.cn"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Endpoints:
        """The endpoints that PADDOCK_BOS_ENDPOINT, HF_ENDPOINT and MODELSCOPE_ENDPOINT name."""
        return cls(
            bos=_endpoint(environment.get("PADDOCK_BOS_ENDPOINT")) or None,
            huggingface=_endpoint(environment.get("HF_ENDPOINT")) or cls().huggingface,
            modelscope=_endpoint(environment.get("MODELSCOPE_ENDPOINT")) or cls().modelscope,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One file at a source. `path` is relative to the set, with `/`."""

    path: str
    url: str
    published: Published


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A weight set at a source: either single files or one tar of them."""

    source: Source
    url: str  # what a person would open
    revision: str | None
    files: tuple[RemoteFile, ...]
    archive: bool = False


def offers(weights: WeightSet, source: Source) -> bool:
    """Whether the registry knows this set at that source."""
    return bool(getattr(weights, source.value))


def listing(
    session: requests.Session,
    weights: WeightSet,
    source: Source,
    *,
    endpoints: Endpoints,
    report: Reporter,
    revision: str | None = None,
    patience: Patience | None = None,
) -> Listing:
    """Ask `source` for the files of a set, at `revision` (Hugging Face only) or as it is now.

    Raises SourceError when it does not answer, does not have the set, or answers something unusable.
    """
    match source:
        case Source.BOS:
            return _bos(_known(weights.bos, weights, source), endpoints)
        case Source.HUGGINGFACE:
            repository = _known(weights.huggingface, weights, source)
            at = f"/revision/{quote(revision, safe='')}" if revision else ""
            url = f"{endpoints.huggingface}/api/models/{quote(repository)}{at}?blobs=true"
            answer = read_json(session, url, report=report, patience=patience)
            return _usable(url, lambda: _huggingface(answer, repository, endpoints.huggingface))
        case Source.MODELSCOPE:
            repository = _known(weights.modelscope, weights, source)
            query = urlencode({"Revision": MODELSCOPE_BRANCH, "Recursive": "true"})
            url = f"{endpoints.modelscope}/api/v1/models/{quote(repository)}/repo/files?{query}"
            answer = read_json(session, url, report=report, patience=patience)
            return _usable(url, lambda: _modelscope(answer, repository, endpoints.modelscope))


def safe_path(found: str, where: str) -> PurePosixPath:
    """A relative path that stays below its directory, from a name that somebody else chose.

    Raises WeightsError for absolute paths, `..`, empty names and control characters.
    """
    path = PurePosixPath(found)
    if not path.parts or path.is_absolute() or ".." in path.parts or re.search(r"[\x00-\x1f\x7f]", found):
        raise WeightsError(f"{where}: found file name {found!r}, expected a path below the weight set")
    return path


def hidden(path: PurePosixPath) -> bool:
    """Whether a path is version control or a tool's note (`.gitattributes`, `._x`), which no server reads."""
    return any(part.startswith(".") for part in path.parts)


def _endpoint(found: str | None) -> str:
    return (found or "").strip().rstrip("/")


def _known(address: str | None, weights: WeightSet, source: Source) -> str:
    if not address:
        raise SourceError(f"{weights.name}: is not at {source}; the registry names no address there")
    return address


def _bos(address: str, endpoints: Endpoints) -> Listing:
    url = address
    if endpoints.bos:
        parts = urlsplit(address)
        url = endpoints.bos + urlunsplit(("", "", parts.path, parts.query, ""))
    name = PurePosixPath(urlsplit(url).path).name
    file = RemoteFile(path=name, url=url, published=Published())
    return Listing(source=Source.BOS, url=url, revision=None, files=(file,), archive=True)


def _huggingface(answer: object, repository: str, endpoint: str) -> Listing:
    data = _of(dict, answer)
    revision = _of(str, data.get("sha"))
    files = []
    for sibling in _of(list, data.get("siblings")):
        path = safe_path(_of(str, sibling.get("rfilename")), f"{endpoint}/{repository}")
        if hidden(path):
            continue
        lfs = sibling.get("lfs")
        published = Published(
            size=_of(int, sibling.get("size")),
            sha256=_of(str, lfs.get("sha256")) if lfs else None,
            git_blob=None if lfs else sibling.get("blobId"),
        )
        url = f"{endpoint}/{quote(repository)}/resolve/{quote(revision, safe='')}/{quote(str(path))}"
        files.append(RemoteFile(path=str(path), url=url, published=published))
    return _listed(Source.HUGGINGFACE, f"{endpoint}/{repository}", revision, files)


def _modelscope(answer: object, repository: str, endpoint: str) -> Listing:
    found = _of(list, _of(dict, _of(dict, answer).get("Data")).get("Files"))
    if len(found) >= MODELSCOPE_LIMIT:
        raise SourceError(
            f"{endpoint}/models/{repository}: found {len(found)} files, expected a listing that is whole"
        )
    files = []
    for entry in found:
        path = safe_path(_of(str, entry.get("Path")), f"{endpoint}/models/{repository}")
        if entry.get("Type") == "tree" or hidden(path):
            continue
        published = Published(size=_of(int, entry.get("Size")), sha256=entry.get("Sha256") or None)
        query = urlencode({"Revision": MODELSCOPE_BRANCH, "FilePath": str(path)})
        url = f"{endpoint}/api/v1/models/{quote(repository)}/repo?{query}"
        files.append(RemoteFile(path=str(path), url=url, published=published))
    return _listed(Source.MODELSCOPE, f"{endpoint}/models/{repository}", MODELSCOPE_BRANCH, files)


def _listed(source: Source, url: str, revision: str, files: Sequence[RemoteFile]) -> Listing:
    paths = [file.path for file in files]
    if not paths or len(set(paths)) != len(paths):
        raise SourceError(
            f"{url}: found {len(paths)} files, {len(set(paths))} names; expected each file once"
        )
    return Listing(
        source=source, url=url, revision=revision, files=tuple(sorted(files, key=lambda file: file.path))
    )


def _usable(url: str, parse: Callable[[], Listing]) -> Listing:
    try:
        return parse()
    except (TypeError, AttributeError) as wrong:
        raise SourceError(
            f"{url}: found JSON of another form, expected the file list of a model ({wrong})"
        ) from wrong


def _of(kind: type[_T], value: object) -> _T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value
