"""Fetching weight sets from the first source that gives them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from paddock.errors import SourceError
from paddock.matrix.records import Source, WeightSet, WeightsRole
from paddock.report import Reporter
from paddock.weights import setfiles, sources
from paddock.weights.diskspace import require_room
from paddock.weights.download import Patience, download, open_session
from paddock.weights.installing import How, Obtained, Outcome, Request, install, remove
from paddock.weights.lockfile import Kind, LockedFile
from paddock.weights.partfile import SUFFIX
from paddock.weights.published import matches, sha256_of
from paddock.weights.sources import Endpoints, Listing, RemoteFile
from paddock.weights.untar import unpack


def wanted(
    weights: Sequence[WeightSet], roles: Collection[WeightsRole] = (), *, vlm: WeightsRole = WeightsRole.VLM
) -> tuple[WeightSet, ...]:
    """Return the sets of a model that have one of `roles`.

    Without roles, these are the sets that a stack reads whose backend reads `vlm`.
    """
    if roles:
        return tuple(weight_set for weight_set in weights if weight_set.role in roles)
    unread = {WeightsRole.VLM, WeightsRole.GGUF} - {vlm}
    return tuple(weight_set for weight_set in weights if weight_set.role not in unread)


def fetch(
    weights: Sequence[WeightSet],
    *,
    models_dir: Path,
    report: Reporter,
    source: Source | None = None,
    endpoints: Endpoints | None = None,
    patience: Patience | None = None,
    ca_bundle: str | None = None,
    replace: bool = False,
) -> tuple[Outcome, ...]:
    """Have every set in `models_dir`, from `source` or from the first in order that answers.

    A set that is here stays, unless it is test weights or `replace` is set. Raises SourceError when no source
    gives a set, WeightsError when files are not what the lock says, PreflightError when the disk is too
    small, Interrupted after Ctrl-C; what has come so far is kept for the next attempt.
    """
    with open_session(ca_bundle) as session:
        supplier = FromSources(
            session=session,
            report=report,
            source=source,
            endpoints=endpoints or Endpoints(),
            patience=patience or Patience(),
        )
        return tuple(
            install(weight_set, supplier, models_dir=models_dir, report=report, replace=replace)
            for weight_set in weights
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FromSources:
    """The supplier of sets that are fetched: from `source`, or from the first one that gives them."""

    session: requests.Session
    report: Reporter
    source: Source | None
    endpoints: Endpoints
    patience: Patience

    @property
    def how(self) -> How:
        return How.FETCHED

    def obtain(self, request: Request) -> Obtained:
        failures: list[SourceError] = []
        for source in self._order(request):
            try:
                return self._from(source, request)
            except SourceError as failure:
                failures.append(failure)
                self.report.warn(f"{request.weights.name}: {source} does not give it: {failure.message}")
        raise _no_source(request.weights, failures)

    def _order(self, request: Request) -> tuple[Source, ...]:
        """The sources to ask; the one that the lock file names comes first."""
        if self.source is not None:
            return (self.source,)
        known = [source for source in sources.ORDER if sources.offers(request.weights, source)]
        locked = request.locked
        if locked is not None and locked.source in known:
            known.sort(key=lambda source: source is not locked.source)
        return tuple(known)

    def _from(self, source: Source, request: Request) -> Obtained:
        locked = request.locked
        listing = sources.listing(
            self.session,
            request.weights,
            source,
            endpoints=self.endpoints,
            report=self.report,
            revision=locked.revision if locked is not None and locked.source is source else None,
            patience=self.patience,
        )
        self.report.say(f"{request.weights.name}: from {listing.url}")
        folder = request.partial / source.value
        folder.mkdir(parents=True, exist_ok=True)
        if listing.archive:
            return self._archive(listing, folder, request.partial / "tree")
        return self._files(listing, folder)

    def _archive(self, listing: Listing, folder: Path, tree: Path) -> Obtained:
        (remote,) = listing.files
        tar = folder / remote.path
        if not tar.is_file():  # an interrupted run may have left it whole
            download(
                self.session,
                remote.url,
                tar,
                published=remote.published,
                report=self.report,
                patience=self.patience,
            )
        archive = LockedFile(size=tar.stat().st_size, sha256=sha256_of(tar))
        remove(tree)
        unpack(tar, tree, report=self.report)
        return Obtained(
            tree=tree, kind=Kind.OFFICIAL, source=listing.source, url=listing.url, archive=archive
        )

    def _files(self, listing: Listing, folder: Path) -> Obtained:
        missing = [remote for remote in listing.files if not _is_whole(folder / remote.path, remote)]
        held = sum(path.stat().st_size for path in folder.rglob(f"*{SUFFIX}"))
        needed = sum(remote.published.size or 0 for remote in missing)
        require_room(folder, needed - held, listing.url)
        for remote in missing:
            download(
                self.session,
                remote.url,
                folder / remote.path,
                published=remote.published,
                report=self.report,
                patience=self.patience,
            )
        setfiles.prune(folder, keep={remote.path for remote in listing.files})
        return Obtained(
            tree=folder, kind=Kind.OFFICIAL, source=listing.source, url=listing.url, revision=listing.revision
        )


def _is_whole(path: Path, remote: RemoteFile) -> bool:
    return path.is_file() and matches(path, remote.published)


def _no_source(weights: WeightSet, failures: Sequence[SourceError]) -> SourceError:
    reasons = "".join(f"\n  {failure.message}" for failure in failures) or " the registry names none"
    own = next((failure.hint for failure in failures if failure.hint), "")
    general = (
        "carry the weights in with --from DIR, name a mirror with HF_ENDPOINT, MODELSCOPE_ENDPOINT or "
        "PADDOCK_BOS_ENDPOINT, or make small test weights (`paddock models make-test --help`)"
    )
    return SourceError(f"{weights.name}: no source gave it:{reasons}", hint=own or general)
