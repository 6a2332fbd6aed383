"""Importing a bundle: everything is checked before the engine is touched, names change last, and a kill costs
one step.

The order is fixed: signature, format, platform and cards, base, disk, every part, and only then the engine.
There images are loaded step by step under names of ours, proven, and only then given their own names; what
had these names is kept for `paddock rollback`. Each step is written down before it counts, so the same
command goes on after any end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from paddock import engine
from paddock.bundle.check import trust, verify
from paddock.bundle.check.trust import Signed
from paddock.bundle.check.verify import Fault
from paddock.bundle.format import stackfiles
from paddock.bundle.format.manifest import Carried, Manifest
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.signature import PublicKey, read_public
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.layers import EngineLayers
from paddock.bundle.imagestore.store import EngineStore, Store
from paddock.bundle.imagestore.tags import previous_name, switch
from paddock.bundle.layers.carried import BundleLayers
from paddock.bundle.layers.rawlayer import LayerSource
from paddock.bundle.site import holding, hostcheck, loading, loadplan, proof
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.bundle.site.content import BundleContent
from paddock.bundle.site.loading import EngineRefusedError, Loader
from paddock.bundle.site.loadplan import Held, LoadPlan
from paddock.bundle.site.state import GoodPart, Installed, Journal, SiteState, Switch
from paddock.durable import flush_disk, writing, writing_out
from paddock.engine import docker
from paddock.errors import BundleError, EngineError, Interrupted
from paddock.report import Reporter


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to import and how. `keys` are public key files for this time; else those pinned at the site count."""

    directories: tuple[Path, ...]
    keys: tuple[Path, ...] = ()
    bases: tuple[Path, ...] = ()  # folders of bundles that hold base layers
    to: Path | None = None  # where the stack goes
    any_host: bool = False  # also where its cards or driver are not what the stack needs


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """What an import would do. `disk` is what the engine needs free, `free` None where that cannot be seen."""

    manifest: Manifest
    signed: Signed | None
    store: Store
    plan: LoadPlan
    free: int | None
    folder: Path | None
    installed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import did. `switches` is empty, and `files` 0, where everything was in place already."""

    manifest: Manifest
    signed: Signed | None
    switches: tuple[Switch, ...]
    files: int  # that were read back and compared
    folder: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Import:
    """One import under way, with everything that its steps need."""

    wanted: Wanted
    report: Reporter
    state: SiteState
    bundle: OpenBundle
    signed: Signed | None
    client: docker.DockerClient
    store: EngineStore
    held: Held
    plan: LoadPlan
    bases: tuple[LayerSource, ...]  # bundles that were named
    layers: EngineLayers
    folder: Path | None = field(default=None)

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def content(self) -> BundleContent:
        return BundleContent(self.bundle, (*self.bases, self.layers))


def plan(wanted: Wanted, *, report: Reporter) -> Planned:
    """Every check but that of the parts, and what would be done. Changes nothing."""
    with _opened(wanted, report) as job:
        if missing := [each.name for each in job.manifest.parts if not job.bundle.copies(each.name)]:
            found = f"found {len(missing)} of {len(job.manifest.parts)} parts in none of these folders"
            report.warn(
                f"bundle {job.manifest.id}: {found}, the first is {missing[0]}; name the folders that have them"
            )
        return Planned(
            manifest=job.manifest,
            signed=job.signed,
            store=job.store.kind,
            plan=job.plan,
            free=job.store.free(),
            folder=job.folder,
            installed=_is_installed(job),
        )


def run(wanted: Wanted, *, report: Reporter) -> Imported:
    """Import a bundle, or go on with an import that was cut short. Raises BundleError with the engine as it
    was, or with all of its images and names as they were and layers of ours that the next run uses.
    """
    with site_state.locked(site_state.folder()), _opened(wanted, report) as job:
        try:
            return _brought_in(job)
        except KeyboardInterrupt:
            raise Interrupted(
                f"bundle {job.manifest.id}: its import is not finished",
                hint="the same command goes on with what is loaded already; `paddock import --abandon` takes that away",
            ) from None


def _brought_in(job: _Import) -> Imported:
    journal = job.state.journal(job.manifest.id)
    if journal is None and _is_installed(job):
        job.report.say(f"bundle {job.manifest.id}: everything is in place already")
        return Imported(manifest=job.manifest, signed=job.signed, switches=(), files=0, folder=job.folder)
    journal = journal or Journal(bundle=job.manifest.id)
    if journal.switches is None:
        journal = _verified(job, journal)
        _require_room_for_bases(job)
        _load(job)
        files = _prove(job)
        journal = replace(journal, switches=_switches(job))
        job.state.note(journal)
    else:
        files = _prove(job)
    _install(job, journal.switches or ())
    return Imported(
        manifest=job.manifest,
        signed=job.signed,
        switches=journal.switches or (),
        files=files,
        folder=job.folder,
    )


def abandon(*, report: Reporter) -> tuple[str, ...]:
    """Give up the imports that were cut short, and take away what they loaded; the bundles' ids.

    One that had begun to give names is left: only the import itself can end it.
    """
    state = SiteState(site_state.folder())
    with site_state.locked(state.path):
        given_up = []
        for bundle in state.under_way():
            journal = state.journal(bundle)
            if journal is not None and journal.switches is not None:
                report.warn(
                    f"bundle {bundle}: its images are proven and partly named; end it with `paddock import`"
                )
                continue
            loading.remove_staging(engine.connect(timeout=None), bundle)
            state.forget(bundle)
            given_up.append(bundle)
    return tuple(given_up)


# --- before the engine --------------------------------------------------------------------------------------


@contextmanager
def _opened(wanted: Wanted, report: Reporter) -> Iterator[_Import]:
    """The bundle and the engine, once everything but the parts has been checked, in the fixed order."""
    state = SiteState(site_state.folder())
    with ExitStack() as stack:
        bundle = stack.enter_context(OpenBundle.open(wanted.directories))
        manifest = bundle.manifest
        signed = _trusted(bundle, wanted, state, report)
        client = engine.connect(timeout=None)
        stack.callback(client.close)
        store = image_store.read(client)
        hostcheck.require_platform(manifest, store)
        if stackfiles.files(manifest) and not wanted.any_host:
            _require_cards(bundle)
        known = tuple(state.manifests())
        held = holding.held(client, store, manifest, known)
        steps = loadplan.plan(manifest, held)
        bases = tuple(BundleLayers(stack.enter_context(OpenBundle.open([each]))) for each in wanted.bases)
        layers = stack.enter_context(_engine_layers(client, known))
        holding.require_base(manifest, steps, held, (*bases, layers))
        hostcheck.require_disk(steps.disk, store, report=report)
        yield _Import(
            wanted=wanted,
            report=report,
            state=state,
            bundle=bundle,
            signed=signed,
            client=client,
            store=store,
            held=held,
            plan=steps,
            bases=bases,
            layers=layers,
            folder=wanted.to or site_stack.default_folder(state.path, manifest),
        )


def _trusted(bundle: OpenBundle, wanted: Wanted, state: SiteState, report: Reporter) -> Signed | None:
    keys: Sequence[PublicKey] = tuple(read_public(each) for each in wanted.keys) or trust.pinned(state.path)
    signed = trust.check(bundle, keys)
    if not keys:
        report.warn(
            f"bundle {bundle.manifest.id}: nobody vouches for it, because no key is pinned here;"
            " `paddock bundle trust KEY.pub` pins the workshop's"
        )
    trust.check_sequence(bundle.manifest, signed, state.path)
    return signed


def _require_cards(bundle: OpenBundle) -> None:
    with ExitStack() as ends:
        with writing(Path(tempfile.gettempdir())):
            scratch = ends.enter_context(tempfile.TemporaryDirectory())
        stack = site_stack.prepare(bundle, Path(scratch) / "stack")
        hostcheck.require_cards(stack, bundle.manifest)


def _engine_layers(client: docker.DockerClient, known: Iterable[Manifest]) -> EngineLayers:
    """The layers that the engine has. `known` are bundles that were imported before."""
    spool = site_state.folder()
    with writing(spool):
        spool.mkdir(parents=True, exist_ok=True)
    compressions = {
        layer.digest: manifest.compression
        for manifest in known
        for layer in manifest.layers
        if layer.carried is not Carried.BASE  # a base's blob may be of another bundle
    }
    return EngineLayers(client, spool=spool, compressions=compressions)


def _is_installed(job: _Import) -> bool:
    """Whether the engine has every image under its name, and the stack is in place."""
    if job.plan.steps:
        return False
    for image in job.manifest.images:
        found = image_store.image(job.client, image.reference)
        if found is None or not loadplan.complete(found, image, job.store.kind):
            return False
    return job.folder is None or site_stack.origin(job.folder) == job.manifest.id


def _verified(job: _Import, journal: Journal) -> Journal:
    """Compare every byte with its hash, save for parts that were compared before and have not changed since."""
    good = [each for each in journal.parts if each.is_unchanged()]
    for each in good:
        job.bundle.use(each.name, Path(each.path))

    def note(name: str) -> None:
        good.append(GoodPart.read(name, job.bundle.path(name)))
        job.state.note(replace(journal, parts=tuple(good)))

    found = verify.verify(job.bundle, report=job.report, known=[each.name for each in good], found_good=note)
    if any(each.fault is Fault.INCONSISTENT for each in found.problems):
        job.state.forget(job.manifest.id)  # parts that were not read again would hide it
    verify.require(found)
    return replace(journal, parts=tuple(good))


def _require_room_for_bases(job: _Import) -> None:
    """Base layers that cannot be read where they lie are unpacked beside the state while others are made of
    them.

    How large they are is known from the recipes, which only now are known to be good.
    """
    if job.manifest.base is None or not job.plan.steps:
        return
    sent = {layer.diff_id for step in job.plan.steps for layer in step.carried}
    together = [
        job.content.read_at_once(layer)
        for layer in job.manifest.layers
        if layer.carried is Carried.RECIPE or layer.diff_id in sent
    ]
    of_engine = {
        name for each in together for name in each if not any(base.holds(name) for base in job.bases)
    }
    if unpacked := {name for name in of_engine if not job.layers.in_place(name)}:
        rooms = (
            job.layers.room({name: size for name, size in each.items() if name in unpacked})
            for each in together
        )
        hostcheck.require_spool(site_state.folder(), max(rooms), job.plan.disk, job.store)


# --- the engine ---------------------------------------------------------------------------------------------


def _load(job: _Import) -> None:
    if not job.plan.steps:
        return
    with (
        writing_out(job.store.disk()),
        job.report.progress("load", total=job.plan.raw_size, unit="bytes") as advance,
    ):
        try:
            Loader(job.client, job.manifest, job.content, job.held).load(job.plan.steps, advance)
        except EngineRefusedError:
            loading.remove_staging(job.client, job.manifest.id)
            job.state.forget(job.manifest.id)
            raise
        except EngineError as failure:
            raise BundleError(failure.message, hint=failure.hint) from failure


def _prove(job: _Import) -> int:
    source = job.content
    with job.report.progress("prove", total=len(job.manifest.images), unit="files") as advance:
        files = 0
        for image in job.manifest.images:
            files += proof.prove(job.client, job.store, job.manifest, image, source)
            advance(1)
    _flush(job.store)  # what engines unpack they do not flush (moby issue 49784)
    return files


def _flush(store: EngineStore) -> None:
    try:
        flush_disk(store.disk())
    except OSError as failed:
        raise BundleError(
            f"{store.disk()}: cannot be written ({failed.strerror})", hint="the engine's disk may be failing"
        ) from failed


def _switches(job: _Import) -> tuple[Switch, ...]:
    """For each name the image that gets it, and the one that has it now."""
    found = []
    for image in job.manifest.images:
        before = image_store.image(job.client, image.reference)
        identity = loadplan.identity(image, job.store.kind)
        previous = None if before is None or before.id == identity else before.id
        found.append(Switch(reference=image.reference, image=identity, previous=previous))
    return tuple(found)


def _install(job: _Import, switches: tuple[Switch, ...]) -> None:
    """Give the names, put the stack in place, write it down, take our own names away. Can be repeated."""
    for each in switches:
        if each.previous is not None:
            switch(job.client, previous_name(each.reference), each.previous)
    for each in switches:
        switch(job.client, each.reference, each.image)
    if job.folder is not None and site_stack.origin(job.folder) != job.manifest.id:
        with writing(job.folder):
            job.folder.parent.mkdir(parents=True, exist_ok=True)
        site_stack.put_in_place(site_stack.prepare(job.bundle, job.folder), job.folder)
    trust.record_sequence(job.manifest, job.signed, job.state.path)
    job.state.remember(_record(job, switches), job.manifest)
    loading.remove_staging(job.client, job.manifest.id)
    job.state.forget(job.manifest.id)


def _record(job: _Import, switches: tuple[Switch, ...]) -> Installed:
    stack = job.manifest.stack
    return Installed(
        bundle=job.manifest.id,
        sequence=job.signed.sequence if job.signed and job.signed.checked else 0,
        tool=job.manifest.tool,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        stack=stack.name if stack else None,
        folder=str(job.folder) if job.folder else None,
        switches=switches,
    )
