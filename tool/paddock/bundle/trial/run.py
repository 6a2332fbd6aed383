"""Trying a bundle before it leaves the building: import it without a network, start it, parse a document.

An engine of its own, its data and the state of the site lie in a scratch folder that is removed at the end.
What runs is what a site runs: `importing`, `launch` and `client`, in this process, which enters the network
of that engine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from paddock import engine, process
from paddock.bundle.check.keys import KeyStore
from paddock.bundle.format import stackfiles
from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.manifest import Kind, Manifest
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.store import Store
from paddock.bundle.site import importing, loadplan
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.bundle.site.incoming import ImportRequest
from paddock.bundle.site.inventory import Inventory
from paddock.bundle.site.state import GoodPart, Journal, SiteState
from paddock.bundle.trial import privateengine
from paddock.bundle.trial.privateengine import PrivateEngine, private_engine
from paddock.durable import require_room
from paddock.errors import BundleError, EngineError, UnhealthyError, refusal
from paddock.parse import readiness
from paddock.parse.client import Client
from paddock.parse.document import inspect
from paddock.parse.wire import ParseOptions
from paddock.report import Reporter
from paddock.smoke.known import DOCUMENTS
from paddock.stack import hostcards, launch
from paddock.stack.folder import StackFolder

SAMPLE = DOCUMENTS / "pages.pdf"
PLAIN_SAMPLE = DOCUMENTS / "plain-pages.pdf"  # for models that come with a notice
_TAKEN_DOWN = "everything of this run is taken down; repair the stack or its images, then export again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A stack that ran: the seconds until it was ready and those for the sample, and what was read.

    `notice` is what has to be shown with results of its model.
    """

    stack: str
    ready_seconds: float
    parse_seconds: float
    pages: int
    markdown: str
    test_weights: bool
    notice: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OfflineRun:
    """What was tried. `started` is None if the bundle was only imported and proven; `left_out` says why."""

    store: Store
    import_seconds: float
    started: Started | None
    left_out: str = ""


def run_offline(
    request: ImportRequest,
    *,
    verified: Sequence[GoodPart] = (),
    scratch: Path | None = None,
    report: Reporter,
) -> OfflineRun:
    """Import a bundle, after those in `request.bases`, into an engine without a network, and start it there.

    Parts in `verified` are not compared again. The folder for all of this is made in `scratch`, by default in
    TMPDIR, and removed at the end. Raises PreflightError when this machine cannot do it, BundleError when the
    import fails, UnhealthyError when the stack fails, Interrupted after Ctrl-C.
    """
    privateengine.require_means()
    with (
        process.termination_as_interrupt(),
        _environment(dict.fromkeys(stackfiles.OF_THE_BUNDLE)),
        ExitStack() as stack,
    ):
        manifests = [*(_manifest((base,)) for base in request.bases), _manifest(request.directories)]
        _require_base(manifests)
        folder = stack.enter_context(_scratch(scratch or Path(tempfile.gettempdir()), report))
        left_out = _left_out(request, folder / "look")
        store = _usual_store()
        _require_disk(manifests, store, folder)
        report.say(f"{folder}: starting an engine without a network ({store} store)")
        site = stack.enter_context(private_engine(folder, store))
        stack.callback(report.say, f"{folder}: taking everything down")
        stack.enter_context(_as_site(site, folder / "state"))
        SiteState(site_state.folder()).note(Journal(bundle=manifests[-1].id, parts=tuple(verified)))
        return _try(request, store, left_out, report)


def _try(request: ImportRequest, store: Store, left_out: str, report: Reporter) -> OfflineRun:
    began = time.monotonic()
    alone = replace(request, bases=(), any_host=True, revoke=False)
    for base in request.bases:  # a delta is then made on what the engine gives out, as at the site
        importing.import_bundle(replace(alone, directories=(base,)), report=report)
    imported = importing.import_bundle(alone, report=report)
    seconds = time.monotonic() - began
    if left_out or imported.folder is None:
        return OfflineRun(store=store, import_seconds=seconds, started=None, left_out=left_out)
    return OfflineRun(store=store, import_seconds=seconds, started=_start(imported.folder, report))


def _start(path: Path, report: Reporter) -> Started:
    """Start the stack in a folder, and have it parse the sample."""
    folder = StackFolder(path=path, name=path.name).without_site()  # the keys for a door are the site's
    try:
        began = time.monotonic()
        stack = launch.up(folder, report=report)
        ready = time.monotonic()
        assert stack.url is not None  # noqa: S101 - a stack that publishes a port
        notice = readiness.ask(stack.url).notice
        sample = PLAIN_SAMPLE if notice else SAMPLE
        report.say(f"{path.name}: parsing {sample.name}")
        parsed = Client(stack.url).parse(inspect(sample), ParseOptions(pictures=False))
        done = time.monotonic()
    except UnhealthyError as failure:
        raise UnhealthyError(failure.message, hint=_TAKEN_DOWN) from failure
    markdown = "\n\n".join(page.markdown for page in parsed.pages)
    if not markdown.strip():
        raise UnhealthyError(
            f"{path.name}: found no text in {sample.name}, expected that of a page", hint=_TAKEN_DOWN
        )
    return Started(
        stack=path.name,
        ready_seconds=ready - began,
        parse_seconds=done - ready,
        pages=len(parsed.pages),
        markdown=markdown,
        test_weights=any(weights.test for weights in stack.weights),
        notice=notice,
    )


# --- before the engine --------------------------------------------------------------------------------------


def _manifest(directories: Sequence[Path]) -> Manifest:
    with OpenBundle.open(directories) as bundle:
        return bundle.manifest


def _require_base(manifests: Sequence[Manifest]) -> None:
    *bases, last = manifests
    if last.kind is Kind.DELTA and not bases:
        raise BundleError(
            f"bundle {last.id}: is a delta, and the engine that it would be tried in has nothing yet",
            hint="give the folder of the bundle that it was made on with --base DIR",
        )


def _left_out(request: ImportRequest, folder: Path) -> str:
    """Why the stack of the bundle cannot be tried; empty if it can be started here.

    Raises PreflightError unless this machine has the cards and the driver that the stack needs.
    """
    with OpenBundle.open(request.directories) as bundle:
        if not stackfiles.files(bundle.manifest):
            return "the bundle has images and no stack"
        name = bundle.manifest.stack.name if bundle.manifest.stack else "its stack"
        configuration = StackFolder(path=site_stack.prepare(bundle, folder), name=name).read()
    if not any(service.published for service in configuration.services):
        return f"{name} has no pipeline API that a document could be sent to"
    hostcards.require(configuration)
    return ""


def _usual_store() -> Store:
    """The kind of store that this machine's own engine has; the classic one if it has no engine."""
    try:
        with closing(engine.connect()) as client:
            return image_store.read(client).kind
    except EngineError:
        return Store.CLASSIC


def _require_disk(manifests: Sequence[Manifest], store: Store, folder: Path) -> None:
    """Refuse a disk that is too small for all bundles; the imports themselves look at one bundle each."""
    needed = 0
    for number, manifest in enumerate(manifests):
        needed += loadplan.plan_load(manifest, _inventory_with(manifests[:number], store)).disk
    require_room(
        folder.parent,
        needed,
        "the engine into which this bundle is imported",
        hint="name a folder on another disk with --scratch, or make room",
    )


def _inventory_with(manifests: Sequence[Manifest], store: Store) -> Inventory:
    """What an engine has that imported these bundles and nothing else."""
    images = [image for manifest in manifests for image in manifest.images]
    return Inventory(
        kind=store,
        chains=frozenset(chain for image in images for chain in chain_ids(image.layers)),
        blobs=frozenset(layer.digest for manifest in manifests for layer in manifest.layers),
        images=frozenset(loadplan.identity(image, store) for image in images),
        takes_zstd=True,
    )


# --- the scratch folder -------------------------------------------------------------------------------------


@contextmanager
def _scratch(parent: Path, report: Reporter) -> Iterator[Path]:
    """A new folder, which is removed with all that is in it."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="paddock-offline-", dir=parent.absolute()))
    except OSError as failed:
        raise refusal(failed, parent) from failed
    try:
        folder.chmod(0o711)  # containers run as other users
        yield folder
    finally:
        with process.ignoring_interrupts():
            try:
                shutil.rmtree(folder)
            except OSError as failed:
                report.warn(f"{folder}: cannot be removed ({failed.strerror}); remove it by hand")


@contextmanager
def _as_site(site: PrivateEngine, state: Path) -> Iterator[None]:
    """Act as on the host of that engine: in its network, and with a state that trusts the same keys."""
    for trusted in KeyStore(own=site_state.folder()).of_user():
        if not trusted.trouble:
            KeyStore(own=state).pin(trusted.key, until=trusted.until)
    with site.entered(), _environment({"DOCKER_HOST": site.address, "PADDOCK_STATE": str(state)}):
        yield


@contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables meanwhile, for this process and what it starts; None unsets one."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
