"""Going back to what was installed before the last import, and forward again: both are the same exchange.

The images' names and the stack's folder change places with those that the import kept. Nothing is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from paddock import engine
from paddock.bundle.imagestore import store
from paddock.bundle.imagestore.tags import previous_name, switch
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.bundle.site.state import Installed, SiteState, Switch
from paddock.engine import docker
from paddock.errors import BundleError, quoted
from paddock.report import Reporter


@dataclass(frozen=True, kw_only=True, slots=True)
class RolledBack:
    """What is in place now: the names with their images, and the stack's folder."""

    bundle: str  # whose import was undone, or done again
    undone: bool
    switches: tuple[Switch, ...]
    folder: Path | None
    origin: str  # the bundle that the folder is from; empty if no bundle brought it


def roll_back(stack: str | None = None, *, report: Reporter) -> RolledBack:
    """Undo the last import (of one stack), or do it again after that.

    Raises BundleError when nothing was kept to go back to.
    """
    state = SiteState(site_state.folder())
    with site_state.locked(state.path):
        records = state.installed()
        last = _last(records, stack, state.path)
        with closing(engine.connect()) as client:
            exchanged = _exchange(last, client)
        state.replace(tuple(exchanged if record is last else record for record in records))
    for moved in exchanged.switches:
        report.say(f"{moved.reference}: {moved.image}")
    folder = Path(last.folder) if last.folder else None
    return RolledBack(
        bundle=last.bundle,
        undone=exchanged.undone,
        switches=exchanged.switches,
        folder=folder,
        origin=site_stack.origin(folder) if folder else "",
    )


def _last(records: Sequence[Installed], stack: str | None, state: Path) -> Installed:
    for record in reversed(records):
        if stack is None or record.stack == stack:
            return record
    wanted = f"import of the stack {stack}" if stack else "import"
    raise BundleError(
        f"{state}: found no {wanted} to go back from",
        hint="`paddock receipt` names what was imported here; PADDOCK_STATE says where that is recorded",
    )


def _exchange(last: Installed, client: docker.DockerClient) -> Installed:
    """Exchange names and folder. The record says what belongs where, so a kill in between does no harm."""
    folder = Path(last.folder) if last.folder else None
    movable = [moved for moved in last.switches if moved.previous is not None]
    if not movable and (folder is None or not site_stack.has_two(folder)):
        raise BundleError(
            f"bundle {last.bundle}: its import replaced nothing, so there is nothing to go back to",
            hint=_removal(last, folder),
        )
    for moved in movable:
        if store.image(client, str(moved.previous)) is None:
            raise BundleError(
                f"{moved.reference}: the engine no longer has {moved.previous}, the image before",
                hint="import the bundle that holds it again",
            )
    for moved in movable:
        switch(client, previous_name(moved.reference), moved.image)
    for moved in movable:
        switch(client, moved.reference, str(moved.previous))
    if folder is not None and site_stack.has_two(folder):
        site_stack.exchange(folder, last.bundle, wanted=last.undone)
    return replace(
        last, undone=not last.undone, switches=tuple(_turned_round(moved) for moved in last.switches)
    )


def _removal(last: Installed, folder: Path | None) -> str:
    """How to be rid of what an import brought."""
    images = " ".join(moved.reference for moved in last.switches)
    stop = f"`paddock down {quoted(folder)}` stops the stack, " if folder else ""
    return f"{stop}`docker image rm {images}` removes its images"


def _turned_round(moved: Switch) -> Switch:
    """What moves a name back; a name that was free before stays where it is."""
    if moved.previous is None:
        return moved
    return replace(moved, image=moved.previous, previous=moved.image)
