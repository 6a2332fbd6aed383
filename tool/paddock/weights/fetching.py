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
from paddock.weights.download import Patience, download, matches, open_session, require_space, sha256_of
from paddock.weights.installing import How, Obtained, Outcome, installed, remove
from paddock.weights.lockfile import Kind, LockedFile, LockedSet
from paddock.weights.sources import Endpoints, Listing
from paddock.weights.untar import unpack

# --- fetching -----------------------------------------------------------------------------------------------


def wanted(
    weights: Sequence[WeightSet], roles: Collection[WeightsRole] = (), *, vlm: WeightsRole = WeightsRole.VLM
) -> tuple[WeightSet, ...]:
    """The sets of a model that have one of `roles`; without roles, what a stack reads whose backend reads
    `vlm`.
    """
    other = {WeightsRole.VLM, WeightsRole.GGUF} - {vlm}
    if roles:
        return tuple(each for each in weights if each.role in roles)
    return tuple(each for each in weights if each.role not in other)


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
        fetching = _Fetching(
            session=session,
            models_dir=models_dir,
            report=report,
            source=source,
            endpoints=endpoints or Endpoints(),
            patience=patience or Patience(),
            replace=replace,
        )
        return tuple(
            installed(each, models_dir, report, replace=replace, obtain=fetching.obtain, how=How.FETCHED)
            for each in weights
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fetching:
    session: requests.Session
    models_dir: Path
    report: Reporter
    source: Source | None
    endpoints: Endpoints
    patience: Patience
    replace: bool

    def obtain(self, weights: WeightSet, partial: Path, locked: LockedSet | None) -> Obtained:
        """The files of a set from the first source that gives them."""
        failures: list[SourceError] = []
        for source in self._order(weights, locked):
            try:
                return self._from(source, weights, partial, locked)
            except SourceError as failure:
                failures.append(failure)
                self.report.warn(f"{weights.name}: {source} does not give it: {failure.message}")
        raise _no_source(weights, failures)

    def _order(self, weights: WeightSet, locked: LockedSet | None) -> tuple[Source, ...]:
        if self.source is not None:
            return (self.source,)
        known = [source for source in sources.ORDER if sources.offers(weights, source)]
        if locked is not None and locked.source in known:
            known.sort(key=lambda source: source is not locked.source)
        return tuple(known)

    def _from(self, source: Source, weights: WeightSet, partial: Path, locked: LockedSet | None) -> Obtained:
        revision = locked.revision if locked is not None and locked.source is source else None
        listing = sources.listing(
            self.session,
            weights,
            source,
            endpoints=self.endpoints,
            report=self.report,
            revision=revision,
            patience=self.patience,
        )
        self.report.say(f"{weights.name}: from {listing.url}")
        folder = partial / source.value
        folder.mkdir(parents=True, exist_ok=True)
        get = self._archive if listing.archive else self._files
        return get(listing, folder, partial / "tree")

    def _archive(self, listing: Listing, folder: Path, tree: Path) -> Obtained:
        (remote,) = listing.files
        tar = folder / remote.path
        if not tar.is_file():  # an interrupted run may have left it whole
            download(self.session, remote.url, tar, report=self.report, patience=self.patience)
        archive = LockedFile(size=tar.stat().st_size, sha256=sha256_of(tar))
        remove(tree)
        unpack(tar, tree, report=self.report)
        return Obtained(
            tree=tree, kind=Kind.OFFICIAL, source=listing.source, url=listing.url, archive=archive
        )

    def _files(self, listing: Listing, folder: Path, tree: Path) -> Obtained:
        del tree  # single files need no unpacking
        missing = [remote for remote in listing.files if not _whole(folder / remote.path, remote)]
        held = sum(path.stat().st_size for path in folder.rglob("*.part"))
        needed = sum(remote.published.size or 0 for remote in missing)
        require_space(folder, needed - held, listing.url)
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


def _whole(path: Path, remote: sources.RemoteFile) -> bool:
    return path.is_file() and matches(path, remote.published)


def _no_source(weights: WeightSet, failures: Sequence[SourceError]) -> SourceError:
    reasons = "".join(f"\n  {failure.message}" for failure in failures) or " the registry names none"
    own = next((failure.hint for failure in failures if failure.hint), "")
    general = (
        "carry the weights in with --from DIR, name a mirror with HF_ENDPOINT, MODELSCOPE_ENDPOINT or "
        "PADDOCK_BOS_ENDPOINT, or make small test weights with `paddock models make-test`"
    )
    return SourceError(f"{weights.name}: no source gave it:{reasons}", hint=own or general)
