"""Whether a bundle is for this host: its platform, the image store, and the cards that its stack needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from paddock import engine
from paddock.bundle.format.manifest import Manifest
from paddock.bundle.imagestore.store import EngineStore
from paddock.errors import BundleError, ConfigurationError, PreflightError
from paddock.report import Reporter
from paddock.stack import hostcards
from paddock.stack.folder import StackFolder

_LAYERS_AT_MOST = 125  # of one image, both stores


def require_platform(manifest: Manifest, store: EngineStore) -> None:
    """Raise BundleError when the images run on another platform: engines load them all the same."""
    if manifest.platform != store.platform:
        raise BundleError(
            f"bundle {manifest.id}: is for {manifest.platform}, the engine of this host runs {store.platform}",
            hint="bring the bundle for this platform; `paddock export` makes it from images of that platform",
        )
    for image in manifest.images:
        if len(image.layers) > _LAYERS_AT_MOST:
            raise BundleError(
                f"{image.reference}: found {len(image.layers)} layers, engines take {_LAYERS_AT_MOST}"
            )


def require_cards(stack: Path, manifest: Manifest) -> None:
    """Raise BundleError when the host's driver or cards are not those that the stack in the folder `stack`
    needs.
    """
    if not engine.is_local():
        return
    name = manifest.stack.name if manifest.stack else "its stack"
    try:
        hostcards.require(StackFolder(path=stack, called=name).read())
    except ConfigurationError as wrong:
        raise BundleError(
            f"bundle {manifest.id}: {name} cannot be started: {wrong.message}", hint=wrong.hint
        ) from wrong
    except PreflightError as wrong:
        raise BundleError(
            f"bundle {manifest.id}: {name} is not for this host; {wrong.message}",
            hint="bring the bundle for this host's target, or say --any-host to import it all the same",
        ) from wrong


def require_disk(needed: int, store: EngineStore, *, report: Reporter) -> None:
    """Raise BundleError when the engine's disk has too little room."""
    free = store.free()
    if free is None and needed:
        report.warn(f"disk: cannot see the engine's disk from here; it needs {needed:,} bytes")
    elif free is not None and free < needed:
        raise BundleError(
            f"{store.disk()}: found {free:,} bytes free, expected {needed:,} for this bundle in the {store.kind} store",
            hint="make room on the engine's disk (`docker system df` shows what takes it), then repeat the import",
        )


def require_spool(folder: Path, needed: int, disk: int, store: EngineStore) -> None:
    """Raise BundleError when `folder` has too little room for base layers, beside the `disk` bytes for the
    engine.
    """
    engines = store.disk()
    same = engines is not None and engines.stat().st_dev == folder.stat().st_dev
    free, expected = shutil.disk_usage(folder).free, needed + disk if same else needed
    if needed and free < expected:
        raise BundleError(
            f"{folder}: found {free:,} bytes free, expected {expected:,}: base layers are unpacked there meanwhile",
            hint="make room there, or give the bundle that brought them with --base: from it they are read in place",
        )
