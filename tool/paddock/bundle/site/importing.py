"""Importing a bundle: check everything, plan, load, prove, switch the names, remember.

Nothing is changed before `incoming` and the comparison of the parts have found no fault. Then images are
loaded step by step under names of ours, proven, and only then given their own names; what had these names is
kept for `paddock rollback`. Each step is recorded before it counts, so a kill costs one step, and the same
command goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from paddock.bundle.check import sequences, verify
from paddock.bundle.check.keys import KeyStore
from paddock.bundle.check.trust import Signed
from paddock.bundle.check.verify import Fault
from paddock.bundle.format.manifest import Manifest
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.store import EngineStore, Store
from paddock.bundle.imagestore.tags import previous_name, switch
from paddock.bundle.site import incoming as checks
from paddock.bundle.site import loading, loadplan, proof
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.bundle.site.incoming import ImportRequest, Incoming
from paddock.bundle.site.loading import EngineRefusedError, Loader
from paddock.bundle.site.loadplan import LoadPlan
from paddock.bundle.site.state import GoodPart, Installed, Journal, Switch
from paddock.durable import flush_disk, writing, writing_out
from paddock.errors import BundleError, EngineError, Interrupted
from paddock.report import Reporter


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportPlan:
    """What an import would do. `free` are bytes on the engine's disk, None if that cannot be seen."""

    manifest: Manifest
    signed: Signed | None
    store: Store
    load: LoadPlan
    free: int | None
    folder: Path | None
    installed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import did. `switches` is empty, and `files` 0, if everything was in place already."""

    manifest: Manifest
    signed: Signed | None
    switches: tuple[Switch, ...]
    files: int  # that were read back and compared
    folder: Path | None


def plan_import(request: ImportRequest, *, report: Reporter) -> ImportPlan:
    """Every check except the comparison of the parts, and what would be done. Changes nothing."""
    with checks.opened(request, report) as incoming:
        manifest = incoming.manifest
        if missing := [part.name for part in manifest.parts if not incoming.bundle.copies(part.name)]:
            report.warn(
                f"bundle {manifest.id}: found {len(missing)} of {len(manifest.parts)} parts in none of these"
                f" folders, the first is {missing[0]}; name the folders that have them"
            )
        return ImportPlan(
            manifest=manifest,
            signed=incoming.signed,
            store=incoming.site.store.kind,
            load=incoming.plan,
            free=incoming.site.store.free(),
            folder=incoming.folder,
            installed=_is_installed(incoming),
        )


def import_bundle(request: ImportRequest, *, report: Reporter) -> Imported:
    """Import a bundle, or go on with an import that was cut short.

    Raises BundleError. The engine then has all images and names that it had, and perhaps layers of ours,
    which the next run uses.
    """
    with site_state.locked(site_state.folder()), checks.opened(request, report) as incoming:
        try:
            imported = _import(incoming, report)
        except KeyboardInterrupt:
            raise Interrupted(
                f"bundle {incoming.manifest.id}: its import is not finished",
                hint="The same command goes on with what is loaded already."
                " `paddock import --abandon` removes that.",
            ) from None
        if request.revoke:
            _revoke(incoming, report)
        return imported


def _import(incoming: Incoming, report: Reporter) -> Imported:
    manifest, state = incoming.manifest, incoming.site.state
    journal = state.journal(manifest.id)
    if journal is None and _is_installed(incoming):
        report.say(f"bundle {manifest.id}: everything is in place already")
        return _imported(incoming, (), files=0)
    journal = journal or Journal(bundle=manifest.id)
    switches = journal.switches
    if switches is None:
        journal = _verify(incoming, journal, report)
        checks.require_spool(incoming)
        _load(incoming, report)
        files = _prove(incoming, report)
        switches = _switches(incoming)
        state.note(replace(journal, switches=switches))
    else:
        files = _prove(incoming, report)
    _install(incoming, switches)
    return _imported(incoming, switches, files=files)


def _revoke(incoming: Incoming, report: Reporter) -> None:
    """Revoke the keys that the bundle lists, last of all: it may be signed by one of them."""
    if incoming.signed and incoming.signed.checked:
        for key in KeyStore(own=incoming.site.state.path).apply_revoked(incoming.bundle):
            report.warn(f"key {key.id}: revoked by bundle {incoming.manifest.id}, and never trusted again")


def _imported(incoming: Incoming, switches: tuple[Switch, ...], *, files: int) -> Imported:
    return Imported(
        manifest=incoming.manifest,
        signed=incoming.signed,
        switches=switches,
        files=files,
        folder=incoming.folder,
    )


def _is_installed(incoming: Incoming) -> bool:
    """Whether the engine has every image under its name, and the stack is in place."""
    if incoming.plan.steps:
        return False
    site = incoming.site
    for image in incoming.manifest.images:
        present = image_store.image(site.client, image.reference)
        if present is None or not loadplan.is_complete(present, image, site.store.kind):
            return False
    return _has_stack(incoming)


def _has_stack(incoming: Incoming) -> bool:
    return incoming.folder is None or site_stack.origin(incoming.folder) == incoming.manifest.id


# --- check, load, prove -------------------------------------------------------------------------------------


def _verify(incoming: Incoming, journal: Journal, report: Reporter) -> Journal:
    """Compare every byte with its hash, except for parts that were compared before and are unchanged."""
    bundle, state = incoming.bundle, incoming.site.state
    good = [part for part in journal.parts if part.is_unchanged()]
    for part in good:
        bundle.use(part.name, Path(part.path))

    def note(name: str) -> None:
        good.append(GoodPart.read(name, bundle.path(name)))
        state.note(replace(journal, parts=tuple(good)))

    known = [part.name for part in good]
    verification = verify.verify(bundle, report=report, known=known, found_good=note)
    if any(problem.fault is Fault.INCONSISTENT for problem in verification.problems):
        state.forget(incoming.manifest.id)  # parts that are not read again would hide it
    verify.require_good(verification)
    return replace(journal, parts=tuple(good))


def _load(incoming: Incoming, report: Reporter) -> None:
    site, manifest, plan = incoming.site, incoming.manifest, incoming.plan
    if not plan.steps:
        return
    loader = Loader(site.client, manifest, incoming.content, incoming.inventory)
    with (
        writing_out(site.store.disk()),
        report.progress("load", total=plan.raw_size, unit="bytes") as advance,
    ):
        try:
            loader.load(plan.steps, advance)
        except EngineRefusedError:
            loading.remove_staging(site.client, manifest.id)
            site.state.forget(manifest.id)
            raise
        except EngineError as failure:
            raise BundleError(failure.message, hint=failure.hint) from failure


def _prove(incoming: Incoming, report: Reporter) -> int:
    """Prove every image; the number of files that were compared."""
    site, manifest, content = incoming.site, incoming.manifest, incoming.content
    files = 0
    with report.progress("prove", total=len(manifest.images), unit="files") as advance:
        for image in manifest.images:
            files += proof.prove(site.client, site.store, manifest, image, content)
            advance(1)
    _flush(site.store)  # engines do not flush what they unpack (moby issue 49784)
    return files


def _flush(store: EngineStore) -> None:
    """Flush the engine's disk, or every disk for a user who may not open the engine's folder."""
    try:
        flush_disk(store.disk())
    except PermissionError:
        flush_disk(None)
    except OSError as failed:
        raise BundleError(
            f"{store.disk()}: cannot be written ({failed.strerror})", hint="the engine's disk may be failing"
        ) from failed


# --- switch, remember ---------------------------------------------------------------------------------------


def _switches(incoming: Incoming) -> tuple[Switch, ...]:
    """For each name the image that gets it, and the one that has it now."""
    site = incoming.site
    switches = []
    for image in incoming.manifest.images:
        before = image_store.image(site.client, image.reference)
        identity = loadplan.identity(image, site.store.kind)
        previous = None if before is None or before.id == identity else before.id
        switches.append(Switch(reference=image.reference, image=identity, previous=previous))
    return tuple(switches)


def _install(incoming: Incoming, switches: tuple[Switch, ...]) -> None:
    """Give the names, put the stack in place, record it, remove our names. Can be repeated after a kill."""
    manifest, site = incoming.manifest, incoming.site
    _give_names(incoming, switches)
    if incoming.folder is not None and not _has_stack(incoming):
        with writing(incoming.folder):
            incoming.folder.parent.mkdir(parents=True, exist_ok=True)
        prepared = site_stack.prepare(incoming.bundle, incoming.folder)
        site_stack.put_in_place(prepared, incoming.folder)
    sequences.record(manifest, incoming.signed, site.state.path, allow_older=incoming.allow_older)
    site.state.remember(_record(incoming, switches), manifest)
    loading.remove_staging(site.client, manifest.id)
    site.state.forget(manifest.id)


def _give_names(incoming: Incoming, switches: Sequence[Switch]) -> None:
    client = incoming.site.client
    for moved in switches:
        if moved.previous is not None:
            switch(client, previous_name(moved.reference), moved.previous)
    for moved in switches:
        switch(client, moved.reference, moved.image)


def _record(incoming: Incoming, switches: tuple[Switch, ...]) -> Installed:
    manifest, signed = incoming.manifest, incoming.signed
    return Installed(
        bundle=manifest.id,
        sequence=signed.sequence if signed and signed.checked else 0,
        tool=manifest.tool,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        stack=manifest.stack.name if manifest.stack else None,
        folder=str(incoming.folder) if incoming.folder else None,
        switches=switches,
    )
