"""Going back to what was installed before the last import, and forward again: both are the same exchange.

The names of the images and the stack folder change places with those that the import kept. Nothing is
removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from paddock import engine
from paddock.bundle.imagestore import store
from paddock.bundle.imagestore.tags import previous_name, switch
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.bundle.site.state import Installed, SiteState, Switch
from paddock.engine import docker
from paddock.errors import BundleError
from paddock.report import Reporter


@dataclass(frozen=True, kw_only=True, slots=True)
class RolledBack:
    """What is in place now: names with the images that they have, and the stack folder with the bundle it is
    from.
    """

    bundle: str  # whose import was undone, or done again
    undone: bool
    switches: tuple[Switch, ...]
    folder: Path | None
    origin: str  # of what is in the folder now; empty where no bundle brought it


def roll_back(stack: str | None = None, *, report: Reporter) -> RolledBack:
    """Undo the last import (of one stack), or undo that. Raises BundleError when nothing was kept to go back
    to.
    """
    state = SiteState(site_state.folder())
    with site_state.locked(state.path):
        rows = state.installed()
        last = next((each for each in reversed(rows) if stack is None or each.stack == stack), None)
        if last is None:
            raise BundleError(
                f"{state.path}: found no import{f' of the stack {stack}' if stack else ''} to go back from",
                hint="`paddock receipt` names what was imported here; PADDOCK_STATE says where that is written down",
            )
        client = engine.connect()
        try:
            undone = _exchanged(last, client)
        finally:
            client.close()
        state.replace(tuple(undone if each is last else each for each in rows))
        folder = Path(last.folder) if last.folder else None
        for each in undone.switches:
            report.say(f"{each.reference}: {each.image}")
        return RolledBack(
            bundle=last.bundle,
            undone=undone.undone,
            switches=undone.switches,
            folder=folder,
            origin=site_stack.origin(folder) if folder else "",
        )


def _exchanged(last: Installed, client: docker.DockerClient) -> Installed:
    """Names and folder change places. What is to be where was settled by the record, so a kill does no harm."""
    folder = Path(last.folder) if last.folder else None
    movable = [each for each in last.switches if each.previous is not None]
    if not movable and (folder is None or not site_stack.has_two(folder)):
        raise BundleError(
            f"bundle {last.bundle}: its import replaced nothing, so there is nothing to go back to",
            hint="`paddock down` stops the stack, `docker image rm` removes its images",
        )
    for each in movable:
        if store.image(client, str(each.previous)) is None:
            raise BundleError(
                f"{each.reference}: the engine no longer has {each.previous}, the image before",
                hint="import the bundle that holds it again",
            )
    for each in movable:
        switch(client, previous_name(each.reference), each.image)
    for each in movable:
        switch(client, each.reference, str(each.previous))
    if folder is not None and site_stack.has_two(folder):
        site_stack.exchange(folder, last.bundle, wanted=last.undone)
    turned = {
        each.reference: replace(each, image=str(each.previous), previous=each.image) for each in movable
    }
    return replace(
        last,
        undone=not last.undone,
        switches=tuple(turned.get(each.reference, each) for each in last.switches),
    )
