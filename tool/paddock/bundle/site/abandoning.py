"""Giving up imports that were cut short: names, stack and layers are as they were before.

It needs neither the bundle nor that its import could ever be finished.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing

from paddock import engine
from paddock.bundle.imagestore import store
from paddock.bundle.imagestore.store import EngineImage
from paddock.bundle.imagestore.tags import is_staging, previous_name, switch
from paddock.bundle.site import loading, proof
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.bundle.site.state import SiteState, Switch
from paddock.durable import writing
from paddock.engine import docker
from paddock.errors import BundleError
from paddock.report import Reporter


def abandon(*, report: Reporter) -> tuple[str, ...]:
    """Give up the imports that were cut short, and remove what they loaded; the bundles' ids.

    Names that they gave go back to the images that had them, and so does the stack's place, unless it was
    named by --to: nothing records that.
    """
    state = SiteState(site_state.folder())
    with site_state.locked(state.path):
        bundles = state.unfinished()
        if bundles:
            with closing(engine.connect(timeout=None)) as client:
                proof.remove_left_container(client)
                for bundle in bundles:
                    switches = _switches(state, bundle, report)
                    if not _is_installed(state, bundle, switches):
                        _take_names_back(client, bundle, switches)
                        _take_stack_back(state, bundle)
                    loading.remove_staging(client, bundle)
                    state.forget(bundle)
    return bundles


def _switches(state: SiteState, bundle: str, report: Reporter) -> Sequence[Switch]:
    try:
        journal = state.journal(bundle)
    except BundleError as damaged:
        report.warn(f"{damaged.message}; names that it gave to images stay")
        return ()
    return journal.switches or () if journal else ()


def _is_installed(state: SiteState, bundle: str, switches: Sequence[Switch]) -> bool:
    """Whether the import was cut short behind its end, when nothing but names of ours was left to remove."""
    return any(record.bundle == bundle and record.switches == switches for record in state.installed())


def _take_names_back(client: docker.DockerClient, bundle: str, switches: Sequence[Switch]) -> None:
    """Give each name back that was moved; one that was free is removed from an image that was loaded."""
    for moved in switches:
        given = _named(client, moved.reference, moved.image)
        if moved.previous is None:
            if given and any(is_staging(name, bundle) for name in given.references):
                loading.remove_name(client, moved.reference)
            continue
        if given and store.image(client, moved.previous):
            switch(client, moved.reference, moved.previous)
        kept = previous_name(moved.reference)
        if _named(client, moved.reference, moved.previous) and _named(client, kept, moved.previous):
            loading.remove_name(client, kept)


def _named(client: docker.DockerClient, reference: str, identity: str) -> EngineImage | None:
    """The image with this id if `reference` is one of its names: an engine finds it by its id, too."""
    image = store.image(client, reference)
    return image if image and image.id == identity and reference in image.references else None


def _take_stack_back(state: SiteState, bundle: str) -> None:
    """Bring back the stack that the bundle's has replaced, or leave the place empty as it was."""
    for folder in sorted((state.path / "stacks").glob("*")):
        if site_stack.origin(folder) != bundle:
            continue
        with writing(folder):
            has_two = site_stack.has_two(folder)
            if has_two:
                site_stack.exchange(folder, bundle, wanted=False)
            shutil.rmtree(site_stack.previous(folder) if has_two else folder)
