"""What the three sources of weights hold: Baidu's object store (BOS), Hugging Face and ModelScope.

This module asks a source which files make a weight set and what it publishes about each; it downloads
nothing. BOS gives one tar for each set and publishes no hash; Hugging Face and ModelScope give single files,
each with a hash. A hash that the registry has for a file goes before all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import requests

from paddock.errors import SourceError
from paddock.jsonvalues import MalformedError, field, optional, typed
from paddock.matrix.records import Source, WeightSet
from paddock.report import Reporter
from paddock.weights.download import Patience, read_json
from paddock.weights.filenames import hidden, safe_path
from paddock.weights.published import OTHER_HINT, Published

ORDER = (Source.BOS, Source.HUGGINGFACE, Source.MODELSCOPE)
MODELSCOPE_LIMIT = 3000  # a listing of this length has been cut by the server, which does not say so
MODELSCOPE_BRANCH = "master"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """Where the sources answer; mirrors replace them. With `bos` None the host is that of each set's URL."""

    bos: str | None = None
    huggingface: str = "https://huggingface.co"
    modelscope: str = "https://www.modelscope.cn"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Endpoints:
        """Return the endpoints that PADDOCK_BOS_ENDPOINT, HF_ENDPOINT and MODELSCOPE_ENDPOINT name."""
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
            return _bos(_known(weights.bos, weights, source), weights.bos_sha256, endpoints)
        case Source.HUGGINGFACE:
            repository, endpoint = _known(weights.huggingface, weights, source), endpoints.huggingface
            at = f"/revision/{quote(revision, safe='')}" if revision else ""
            url = f"{endpoint}/api/models/{quote(repository)}{at}?blobs=true"
            read = _huggingface
        case Source.MODELSCOPE:
            repository, endpoint = _known(weights.modelscope, weights, source), endpoints.modelscope
            query = urlencode({"Revision": MODELSCOPE_BRANCH, "Recursive": "true"})
            url = f"{endpoint}/api/v1/models/{quote(repository)}/repo/files?{query}"
            read = _modelscope
    answer = read_json(session, url, report=report, patience=patience)
    try:
        return _as_recorded(read(answer, repository, endpoint), weights)
    except MalformedError as wrong:
        raise SourceError(
            f"{url}: found JSON of another form, expected the file list of a model ({wrong})"
        ) from wrong


def _endpoint(variable: str | None) -> str:
    return (variable or "").strip().rstrip("/")


def _known(address: str | None, weights: WeightSet, source: Source) -> str:
    if not address:
        raise SourceError(f"{weights.name}: is not at {source}; the registry names no address there")
    return address


def _bos(address: str, sha256: str | None, endpoints: Endpoints) -> Listing:
    url = address
    if endpoints.bos:
        parts = urlsplit(address)
        url = endpoints.bos + urlunsplit(("", "", parts.path, parts.query, ""))
    name = PurePosixPath(urlsplit(url).path).name
    file = RemoteFile(path=name, url=url, published=Published(sha256=sha256))
    return Listing(source=Source.BOS, url=url, revision=None, files=(file,), archive=True)


def _huggingface(answer: object, repository: str, endpoint: str) -> Listing:
    model = typed(answer, dict, "the answer")
    revision = field(model, "sha", str)
    files = []
    for value in field(model, "siblings", list):
        sibling = typed(value, dict, "siblings")
        path = safe_path(field(sibling, "rfilename", str), f"{endpoint}/{repository}")
        if hidden(path):
            continue
        lfs = optional(sibling, "lfs", dict)
        published = Published(
            size=field(sibling, "size", int),
            sha256=field(lfs, "sha256", str) if lfs else None,
            git_blob=None if lfs else optional(sibling, "blobId", str),
        )
        url = f"{endpoint}/{quote(repository)}/resolve/{quote(revision, safe='')}/{quote(str(path))}"
        files.append(RemoteFile(path=str(path), url=url, published=published))
    return _listed(Source.HUGGINGFACE, f"{endpoint}/{repository}", revision, files)


def _modelscope(answer: object, repository: str, endpoint: str) -> Listing:
    where = f"{endpoint}/models/{repository}"
    entries = field(field(typed(answer, dict, "the answer"), "Data", dict), "Files", list)
    if len(entries) >= MODELSCOPE_LIMIT:
        raise SourceError(f"{where}: found {len(entries)} files, expected a listing that is whole")
    files = []
    for value in entries:
        entry = typed(value, dict, "Files")
        path = safe_path(field(entry, "Path", str), where)
        if entry.get("Type") == "tree" or hidden(path):
            continue
        sha256 = optional(entry, "Sha256", str) or None
        query = urlencode({"Revision": MODELSCOPE_BRANCH, "FilePath": str(path)})
        url = f"{endpoint}/api/v1/models/{quote(repository)}/repo?{query}"
        published = Published(size=field(entry, "Size", int), sha256=sha256)
        files.append(RemoteFile(path=str(path), url=url, published=published))
    return _listed(Source.MODELSCOPE, where, MODELSCOPE_BRANCH, files)


def _as_recorded(listing: Listing, weights: WeightSet) -> Listing:
    """The listing with the hashes that the registry has for this set; they go before what the source says."""
    files = []
    for file in listing.files:
        recorded = weights.sha256.get(file.path)
        said = file.published.sha256
        if recorded and said and said.lower() != recorded:
            raise SourceError(
                f"{listing.url}: publishes SHA-256 {said} for {file.path}, expected {recorded} as recorded",
                hint=OTHER_HINT,
            )
        published = replace(file.published, sha256=recorded or said)
        files.append(replace(file, published=published))
    return replace(listing, files=tuple(files))


def _listed(source: Source, url: str, revision: str, files: Sequence[RemoteFile]) -> Listing:
    names = {file.path for file in files}
    if not files or len(names) != len(files):
        raise SourceError(f"{url}: found {len(files)} files, {len(names)} names; expected each file once")
    in_order = sorted(files, key=lambda file: file.path)
    return Listing(source=source, url=url, revision=revision, files=tuple(in_order))
