"""`paddock import`, `paddock receipt` and `paddock rollback`: bundles at the site."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.errors import UsageError

if TYPE_CHECKING:
    from paddock.bundle.site.importing import Imported, ImportPlan

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("import")
@click.argument("directories", metavar="DIR...", nargs=-1, type=_FOLDER)
@click.option("--plan", "plan_only", is_flag=True, help="Say what would be done; change nothing.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=_FILE,
    metavar="PUB",
    help="Public key that must have signed, in place of your own; with keys for the host, one of those.",
)
@click.option(
    "--unsigned", is_flag=True, help="Import though no key is pinned here or given that could vouch."
)
@click.option(
    "--allow-older", is_flag=True, help="Import though a newer bundle of this stack or these images was here."
)
@click.option(
    "--base",
    "bases",
    multiple=True,
    type=_FOLDER,
    metavar="DIR",
    help="A bundle that has layers which a delta is made on.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the stack goes.  [default: stacks/NAME in the state folder]",
)
@click.option(
    "--any-host", is_flag=True, help="Import though the cards here are not those that the stack needs."
)
@click.option("--abandon", is_flag=True, help="Give up imports that were cut short; remove what they loaded.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_(
    *,
    directories: tuple[Path, ...],
    plan_only: bool,
    keys: tuple[Path, ...],
    unsigned: bool,
    allow_older: bool,
    bases: tuple[Path, ...],
    to: Path | None,
    any_host: bool,
    abandon: bool,
    as_json: bool,
) -> None:
    """Bring a bundle's images and stack to this host.

    DIR is the folder of the bundle; with parts on several media, the folders of all of them in any order.
    Before the engine is touched everything is checked: signature, format, platform and cards, base, disk
    space, every part. The images get their names last, after they have been read back; what had the names is
    kept for `paddock rollback`. After a power cut or Ctrl-C the same command goes on where it was.

    A key that is pinned here (`paddock trust`) or given must have signed the bundle; without any, only
    --unsigned imports it.

    Exit status: 0 everything is in place; 2 wrong use; 5 no engine; 7 the bundle, this host or its disk is
    not as it must be; 130 interrupted.
    """
    if abandon and directories:
        raise UsageError("--abandon: found a folder, too; expected none")
    if not abandon and not directories:
        raise UsageError("DIR: found none, expected the folder of a bundle")

    from paddock.bundle.site import abandoning, importing
    from paddock.bundle.site.incoming import ImportRequest

    report = console.TerminalReporter()
    if abandon:
        abandoned = abandoning.abandon(report=report)
        for bundle in abandoned:
            console.result(bundle)
        if not abandoned:
            report.say("no import was cut short here")
        return
    request = ImportRequest(
        directories=tuple(directory.absolute() for directory in directories),
        keys=keys,
        unsigned=unsigned,
        allow_older=allow_older,
        bases=bases,
        to=to.absolute() if to else None,
        any_host=any_host,
    )
    if plan_only:
        _show_plan(importing.plan_import(request, report=report), as_json=as_json)
    else:
        _show_imported(importing.import_bundle(request, report=report), as_json=as_json)


@click.command("receipt")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write it there.  [default: stdout]",
)
def receipt(*, output: Path | None) -> None:
    """Write down what this site holds: layers, images, bundles, engine, driver, free disk.

    The workshop makes the next delta on it.

    Exit status: 0 it is written; 5 no engine; 7 it cannot be written.
    """
    from paddock import engine
    from paddock.bundle.imagestore import store
    from paddock.bundle.site import receipt as receipts
    from paddock.bundle.site import state
    from paddock.durable import write_durably, writing

    with closing(engine.connect()) as client:
        images = store.read(client)
        held = receipts.of_site(client, images, state.SiteState(state.folder()).installed())
    if output is None:
        console.result(held.to_bytes().decode().rstrip("\n"))
        return
    with writing(output):
        write_durably(output, held.to_bytes())
    console.result(f"{output}: {len(held.layers)} layers, {len(held.images)} images")


@click.command("rollback")
@click.argument("stack", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rollback(*, stack: str | None, as_json: bool) -> None:
    """Go back to what was here before the last import; the same command again goes forward.

    With STACK, the last import of that stack. Images and the stack's folder change places with those that
    were kept; start them with `paddock up`.

    Exit status: 0 done; 5 no engine; 7 nothing was kept to go back to.
    """
    from paddock.bundle.site.rollback import roll_back

    done = roll_back(stack, report=console.TerminalReporter())
    if as_json:
        console.result_json(
            {
                "bundle": done.bundle,
                "undone": done.undone,
                "images": {switch.reference: switch.image for switch in done.switches},
                "folder": str(done.folder) if done.folder else None,
                "folder_is_of": done.origin or None,
            }
        )
        return
    console.result(f"{'undone' if done.undone else 'done again'}: the import of bundle {done.bundle}")
    _say_how_to_start(done.folder)


def _say_how_to_start(folder: Path | None) -> None:
    from paddock.process import command_line

    if folder:
        console.result(f"start it: {command_line(['paddock', 'up', str(folder)])}")


def _show_plan(planned: ImportPlan, *, as_json: bool) -> None:
    manifest = planned.manifest
    steps = planned.load.steps
    if as_json:
        console.result_json(
            {
                "bundle": manifest.id,
                "installed": planned.installed,
                "images": [image.reference for image in manifest.images],
                "signed_by": planned.signed.key_id if planned.signed else None,
                "store": planned.store.value,
                "layers": sum(len(step.carried) for step in steps),
                "bytes": planned.load.raw_size,
                "disk_needed": planned.load.disk,
                "disk_free": planned.free,
                "folder": str(planned.folder) if planned.folder else None,
            }
        )
        return
    rows = []
    for number, image in enumerate(manifest.images):
        own = [step for step in steps if step.number == number]
        to_load = sum(len(step.carried) for step in own)
        size = sum(step.raw_size for step in own)
        rows.append((image.reference, str(len(image.layers)), str(to_load), f"{size:,}"))
    console.table(("IMAGE", "LAYERS", "TO LOAD", "BYTES"), rows)
    free = "unknown" if planned.free is None else f"{planned.free:,}"
    console.result(f"disk: {planned.load.disk:,} bytes needed, {free} free ({planned.store.value} store)")
    if planned.folder:
        console.result(f"stack: {planned.folder}")
    if planned.installed:
        console.result("everything is in place already")


def _show_imported(done: Imported, *, as_json: bool) -> None:
    if as_json:
        console.result_json(
            {
                "bundle": done.manifest.id,
                "images": [image.reference for image in done.manifest.images],
                "changed": bool(done.switches),
                "previous": {
                    switch.reference: switch.previous for switch in done.switches if switch.previous
                },
                "files_compared": done.files,
                "folder": str(done.folder) if done.folder else None,
            }
        )
        return
    for image in done.manifest.images:
        console.result(image.reference)
    _say_how_to_start(done.folder)
