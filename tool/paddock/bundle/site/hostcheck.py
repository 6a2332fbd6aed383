"""Whether a bundle is for this host: its platform, the cards, the base layers of a delta, the free disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paddock import engine
from paddock.bundle.format.manifest import Carried, Manifest
from paddock.bundle.imagestore.store import EngineStore
from paddock.bundle.layers.framewriter import own_compression
from paddock.bundle.layers.rawlayer import LayerSource
from paddock.bundle.site.inventory import Inventory
from paddock.bundle.site.loadplan import LoadPlan
from paddock.durable import require_room
from paddock.errors import BundleError, ConfigurationError, PreflightError
from paddock.report import Reporter

_MOST_LAYERS = 125  # of one image, in both stores


def require_platform(manifest: Manifest, store: EngineStore) -> None:
    """Raise BundleError unless the images run on this platform: engines load those of others all the same."""
    if manifest.platform != store.platform:
        raise BundleError(
            f"bundle {manifest.id}: is for {manifest.platform},"
            f" the engine of this host runs {store.platform}",
            hint="bring the bundle for this platform; a workshop of that platform exports it",
        )
    for image in manifest.images:
        if len(image.layers) > _MOST_LAYERS:
            raise BundleError(
                f"{image.reference}: found {len(image.layers)} layers, engines take at most {_MOST_LAYERS}"
            )


def require_cards(stack: Path, manifest: Manifest) -> None:
    """Raise BundleError unless the host has the driver and the cards that the stack in a folder needs."""
    if not engine.is_local():
        return
    from paddock.stack import hostcards  # noqa: PLC0415 - a quarter of what an import loads, for stacks with cards
    from paddock.stack.folder import StackFolder  # noqa: PLC0415

    name = manifest.stack.name if manifest.stack else "its stack"
    try:
        hostcards.require(StackFolder(path=stack, name=name).read())
    except ConfigurationError as wrong:
        raise BundleError(
            f"bundle {manifest.id}: {name} cannot be started: {wrong.message}", hint=wrong.hint
        ) from wrong
    except PreflightError as wrong:
        raise BundleError(
            f"bundle {manifest.id}: {name} is not for this host; {wrong.message}",
            hint="bring the bundle for this host's target, or import it all the same with --any-host",
        ) from wrong


def require_base(
    manifest: Manifest, plan: LoadPlan, inventory: Inventory, sources: Sequence[LayerSource]
) -> None:
    """Raise BundleError unless `sources` have the base layers of a delta, and it can be made from them."""
    if manifest.base is None or not plan.steps:
        return
    layers = manifest.base.layers
    absent = [diff_id for diff_id in layers if not any(source.holds(diff_id) for source in sources)]
    if absent:
        bundles = ", ".join(manifest.base.bundles) or "unknown"
        raise BundleError(
            f"bundle {manifest.id}: needs {len(absent)} of {len(layers)} base layers that are not here,"
            f" the first is {absent[0]}; it was made on bundle {bundles}",
            hint="import that bundle first, give its folder with --base, or bring a full bundle;"
            " `paddock receipt` tells the workshop what is here",
        )
    _require_same_compressor(manifest, plan, inventory)


def _require_same_compressor(manifest: Manifest, plan: LoadPlan, inventory: Inventory) -> None:
    """Blobs that are made here have the right digest only if the same library compresses them."""
    if manifest.compression.libzstd == own_compression().libzstd:
        return
    made = [layer for step in plan.steps for layer in step.carried if layer.carried is not Carried.WHOLE]
    if any(inventory.as_blob(layer) for layer in made):
        raise BundleError(
            f"bundle {manifest.id}: the containerd store needs blobs that libzstd"
            f" {manifest.compression.libzstd} makes, here is {own_compression().libzstd}",
            hint="import it with the tool of the version that wrote it, or bring a full bundle",
        )


def require_disk(needed: int, store: EngineStore, *, report: Reporter) -> None:
    """Raise BundleError when the engine's disk has too little room."""
    disk = store.disk()
    if disk is not None:
        require_room(
            disk,
            needed,
            f"this bundle in the {store.kind} store",
            hint="Make room on the engine's disk, then repeat the import."
            " `docker system df` shows what takes it.",
            raising=BundleError,
        )
    elif needed:
        report.warn(f"disk: cannot see the engine's disk from here; it needs {needed:,} bytes")


def require_spool(folder: Path, needed: int, for_engine: int, store: EngineStore) -> None:
    """Raise BundleError when `folder` has too little room for the base layers that are unpacked there.

    If the engine's images lie on the same disk, there must be room for the `for_engine` bytes, too.
    """
    if not needed:
        return
    disk = store.disk()
    shared = disk is not None and disk.stat().st_dev == folder.stat().st_dev
    require_room(
        folder,
        needed + for_engine if shared else needed,
        "the base layers that are unpacked there meanwhile",
        hint="make room there, or give the bundle that brought them with --base to read them in place",
        raising=BundleError,
    )
