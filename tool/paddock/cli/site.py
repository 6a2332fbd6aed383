"""`paddock import`, `paddock receipt` and `paddock rollback`: bundles at the site."""

from __future__ import annotations

from pathlib import Path

import click

from paddock import console, engine, process
from paddock.bundle.imagestore import store
from paddock.bundle.site import importing
from paddock.bundle.site import receipt as receipts
from paddock.bundle.site import state as site_state
from paddock.bundle.site.importing import Imported, Planned, Wanted
from paddock.bundle.site.rollback import roll_back
from paddock.bundle.site.state import SiteState
from paddock.durable import write_durably, writing
from paddock.errors import UsageError

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
    help="Take this public key instead of those pinned here.",
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

    Exit status: 0 everything is in place; 2 wrong use; 5 no engine; 7 the bundle, this host or its disk is
    not as it must be; 130 interrupted.
    """
    report = console.TerminalReporter()
    if abandon:
        if directories:
            raise UsageError("--abandon: found a folder, too; expected none")
        for bundle in importing.abandon(report=report):
            console.result(bundle)
        return
    if not directories:
        raise UsageError("DIR: found none, expected the folder of a bundle")
    wanted = Wanted(
        directories=tuple(each.absolute() for each in directories),
        keys=keys,
        bases=bases,
        to=to.absolute() if to else None,
        any_host=any_host,
    )
    if plan_only:
        _show_plan(importing.plan(wanted, report=report), as_json=as_json)
    else:
        _show_imported(importing.run(wanted, report=report), as_json=as_json)


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
    client = engine.connect()
    try:
        found = receipts.of_site(client, store.read(client), SiteState(site_state.folder()).installed())
    finally:
        client.close()
    if output is None:
        console.result(found.to_bytes().decode().rstrip("\n"))
        return
    with writing(output):
        write_durably(output, found.to_bytes())
    console.result(f"{output}: {len(found.layers)} layers, {len(found.images)} images")


@click.command("rollback")
@click.argument("stack", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rollback(*, stack: str | None, as_json: bool) -> None:
    """Go back to what was here before the last import; the same command again goes forward.

    With STACK, the last import of that stack. Images and the stack's folder change places with those that
    were kept; start them with `paddock up`.

    Exit status: 0 done; 5 no engine; 7 nothing was kept to go back to.
    """
    done = roll_back(stack, report=console.TerminalReporter())
    if as_json:
        console.result_json(
            {
                "bundle": done.bundle,
                "undone": done.undone,
                "images": {each.reference: each.image for each in done.switches},
                "folder": str(done.folder) if done.folder else None,
                "folder_is_of": done.origin or None,
            }
        )
        return
    console.result(f"{'undone' if done.undone else 'done again'}: the import of bundle {done.bundle}")
    if done.folder:
        console.result(f"start it: {process.command_line(['paddock', 'up', str(done.folder)])}")


def _show_plan(planned: Planned, *, as_json: bool) -> None:
    manifest = planned.manifest
    steps = planned.plan.steps
    if as_json:
        console.result_json(
            {
                "bundle": manifest.id,
                "installed": planned.installed,
                "images": [each.reference for each in manifest.images],
                "signed_by": planned.signed.key_id if planned.signed else None,
                "store": planned.store.value,
                "layers": sum(len(step.carried) for step in steps),
                "bytes": planned.plan.raw_size,
                "disk_needed": planned.plan.disk,
                "disk_free": planned.free,
                "folder": str(planned.folder) if planned.folder else None,
            }
        )
        return
    console.table(
        ("IMAGE", "LAYERS", "TO LOAD", "BYTES"),
        [
            (
                image.reference,
                str(len(image.layers)),
                str(sum(len(step.carried) for step in steps if step.number == number)),
                f"{sum(step.raw_size for step in steps if step.number == number):,}",
            )
            for number, image in enumerate(manifest.images)
        ],
    )
    free = "unknown" if planned.free is None else f"{planned.free:,}"
    console.result(f"disk: {planned.plan.disk:,} bytes needed, {free} free ({planned.store.value} store)")
    if planned.folder:
        console.result(f"stack: {planned.folder}")
    if planned.installed:
        console.result("everything is in place already")


def _show_imported(done: Imported, *, as_json: bool) -> None:
    if as_json:
        console.result_json(
            {
                "bundle": done.manifest.id,
                "images": [each.reference for each in done.manifest.images],
                "changed": bool(done.switches),
                "previous": {each.reference: each.previous for each in done.switches if each.previous},
                "files_compared": done.files,
                "folder": str(done.folder) if done.folder else None,
            }
        )
        return
    for image in done.manifest.images:
        console.result(image.reference)
    if done.folder:
        console.result(f"start it: {process.command_line(['paddock', 'up', str(done.folder)])}")
