"""Opening a bundle that is to be imported: everything is checked that can be before the engine is changed.

The order is fixed: signature, format, platform and cards, base, disk. The parts are compared later, as that
takes long, and the room for base layers after them, as their sizes are in the parts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paddock import engine
from paddock.bundle.check import sequences, trust
from paddock.bundle.check.keys import KeyStore
from paddock.bundle.check.trust import Signed
from paddock.bundle.format import stackfiles
from paddock.bundle.format.manifest import Carried, Manifest
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.layers import EngineLayers
from paddock.bundle.imagestore.store import EngineStore
from paddock.bundle.layers.carried import BundleLayers
from paddock.bundle.layers.rawlayer import LayerSource
from paddock.bundle.site import hostcheck, loadplan
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.bundle.site.content import BundleContent
from paddock.bundle.site.inventory import Inventory, take_inventory
from paddock.bundle.site.loadplan import LoadPlan
from paddock.bundle.site.state import SiteState
from paddock.durable import writing
from paddock.engine import docker
from paddock.errors import BundleError
from paddock.report import Reporter


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRequest:
    """What to import, and how."""

    directories: tuple[Path, ...]
    keys: tuple[Path, ...] = ()  # files of public keys; if given, those that the user pinned do not count
    unsigned: bool = False  # import even if nobody vouches for it; without effect where a key is pinned
    allow_older: bool = False  # import even if the site has had a newer one
    revoke: bool = True  # no longer trust the keys that the bundle revokes
    bases: tuple[Path, ...] = ()  # folders of bundles that hold base layers
    to: Path | None = None  # where the stack goes
    any_host: bool = False  # import even if the cards or the driver are not what the stack needs


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The engine and the state folder of this host."""

    client: docker.DockerClient
    store: EngineStore
    state: SiteState


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseLayers:
    """Where the layers come from that a delta is made on: bundles that were named, and the engine."""

    bundles: tuple[LayerSource, ...]
    engine: EngineLayers

    @property
    def sources(self) -> tuple[LayerSource, ...]:
        return (*self.bundles, self.engine)

    def spool_size(self, together: Sequence[Mapping[str, int]]) -> int:
        """Bytes of base layers that are unpacked at the worst moment, as they cannot be read in place.

        Each mapping holds layers that are read at the same time: raw sizes by diff id.
        """
        unpacked = {diff_id for layers in together for diff_id in layers if self._is_unpacked(diff_id)}
        if not unpacked:
            return 0
        return max(
            self.engine.room({diff_id: size for diff_id, size in layers.items() if diff_id in unpacked})
            for layers in together
        )

    def _is_unpacked(self, diff_id: str) -> bool:
        if any(bundle.holds(diff_id) for bundle in self.bundles):
            return False
        return not self.engine.in_place(diff_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Incoming:
    """A bundle that passed the checks, and what its import will do to this site."""

    bundle: OpenBundle
    signed: Signed | None
    allow_older: bool
    site: Site
    inventory: Inventory
    plan: LoadPlan
    bases: BaseLayers
    folder: Path | None  # where the stack goes

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def content(self) -> BundleContent:
        return BundleContent(self.bundle, self.bases.sources)


@contextmanager
def opened(request: ImportRequest, report: Reporter) -> Iterator[Incoming]:
    """The bundle, once everything but its parts has been checked. Raises BundleError; changes nothing."""
    state = SiteState(site_state.folder())
    with ExitStack() as stack:
        bundle = stack.enter_context(OpenBundle.open(request.directories))
        manifest = bundle.manifest
        signed = _require_trust(bundle, request, state, report)
        client = engine.connect(timeout=None)
        stack.callback(client.close)
        store = image_store.read(client)
        hostcheck.require_platform(manifest, store)
        folder = request.to or site_stack.default_folder(state.path, manifest)
        if folder is not None:
            site_stack.require_readable_settings(folder)
        if stackfiles.files(manifest) and not request.any_host:
            _require_cards(bundle)
        known = tuple(state.manifests())
        inventory = take_inventory(client, store, manifest, known)
        plan = loadplan.plan_load(manifest, inventory)
        named = [stack.enter_context(OpenBundle.open([folder])) for folder in request.bases]
        bases = BaseLayers(
            bundles=tuple(map(BundleLayers, named)),
            engine=stack.enter_context(_engine_layers(client, known, state)),
        )
        hostcheck.require_base(manifest, plan, inventory, bases.sources)
        hostcheck.require_disk(plan.disk, store, report=report)
        yield Incoming(
            bundle=bundle,
            signed=signed,
            allow_older=request.allow_older,
            site=Site(client=client, store=store, state=state),
            inventory=inventory,
            plan=plan,
            bases=bases,
            folder=folder,
        )


def require_spool(incoming: Incoming) -> None:
    """Raise BundleError unless there is room for the base layers that are unpacked beside the state.

    Their sizes are in the recipes of the bundle, so its parts must have been compared before.
    """
    manifest, plan = incoming.manifest, incoming.plan
    if manifest.base is None or not plan.steps:
        return
    sent = {layer.diff_id for step in plan.steps for layer in step.carried}
    made = [layer for layer in manifest.layers if layer.carried is Carried.RECIPE or layer.diff_id in sent]
    content = incoming.content
    needed = incoming.bases.spool_size([content.read_together(layer) for layer in made])
    hostcheck.require_spool(incoming.site.state.path, needed, plan.disk, incoming.site.store)


def _require_trust(
    bundle: OpenBundle, request: ImportRequest, state: SiteState, report: Reporter
) -> Signed | None:
    keys = KeyStore(own=state.path).demanded(request.keys)
    signed = trust.check(bundle, keys)
    if not keys:
        nobody = f"bundle {bundle.manifest.id}: nobody vouches for it, because no key is pinned here or given"
        if not request.unsigned:
            raise BundleError(
                nobody,
                hint="`paddock trust add KEY.pub` pins the workshop's key;"
                f" `paddock import --unsigned {bundle.folders}` imports it unchecked",
            )
        report.warn(nobody)
    sequences.check(
        bundle.manifest, signed, state.path, allow_older=request.allow_older, folders=bundle.folders
    )
    return signed


def _require_cards(bundle: OpenBundle) -> None:
    with ExitStack() as stack:
        with writing(Path(tempfile.gettempdir())):
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
        folder = site_stack.prepare(bundle, Path(scratch) / "stack")
        hostcheck.require_cards(folder, bundle.manifest)


def _engine_layers(client: docker.DockerClient, known: Iterable[Manifest], state: SiteState) -> EngineLayers:
    """The layers that the engine has. `known` are bundles that were imported before."""
    with writing(state.path):
        state.path.mkdir(parents=True, exist_ok=True)
    compressions = {
        layer.digest: manifest.compression
        for manifest in known
        for layer in manifest.layers
        if layer.carried is not Carried.BASE  # such a blob may be another bundle's
    }
    return EngineLayers(client, spool=state.path, compressions=compressions)
