"""`paddock trust`: the keys whose bundles are taken on this host."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paddock import console

if TYPE_CHECKING:
    from paddock.bundle.check.keys import KeyStore

_for_host = click.option(
    "--host", "for_host", is_flag=True, help="For every user of this host: in /etc/paddock/keys. Needs root."
)


@click.group("trust")
def trust() -> None:
    """List, add or remove the keys whose bundles are taken here.

    Keys for the whole host lie in /etc/paddock/keys, your own in keys/ of the state folder. Where the host
    has keys, only these count, for everybody. Without any key only `paddock import --unsigned` imports a
    bundle.
    """


@trust.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """Show the keys that are pinned here, whether they count, and those that were revoked.

    Exit status: 0 shown; 7 a key cannot be read.
    """
    keys = _store()
    of_host = keys.of_host()
    counts = [(trusted, trusted.trouble or "counts") for trusted in of_host]
    counts += [
        (trusted, trusted.trouble or ("does not count, the host has keys" if of_host else "counts"))
        for trusted in keys.of_user()
    ]
    pinned = {trusted.key for trusted, _ in counts}
    rows = [[trusted.key.id, state, trusted.until, str(trusted.path)] for trusted, state in counts]
    rows += [[key.id, "was revoked", "", ""] for key in keys.revoked() - pinned]
    if as_json:
        names = ("key", "state", "until", "file")
        console.result_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        console.table(["KEY", "STATE", "UNTIL", "FILE"], rows)
    else:
        console.TerminalReporter().say("no key is pinned here: `paddock trust add KEY.pub`")


@trust.command("add")
@click.argument("key", metavar="PUB", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_for_host
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="The last date on which the key counts, such as 2027-12-31.",
)
def add(*, key: Path, for_host: bool, until: datetime | None) -> None:
    """Pin the public key PUB: from now on only bundles that a pinned key signed are taken.

    Exit status: 0 pinned; 7 PUB is no key, or was revoked, or the folder cannot be written.
    """
    from paddock.bundle.format.signature import read_public

    keys = _store()
    path = keys.pin(read_public(key), until=f"{until:%Y-%m-%d}" if until else "", for_host=for_host)
    if not for_host and keys.of_host():
        console.TerminalReporter().warn(f"{path}: does not count while keys are pinned for the whole host")
    console.result(str(path))


@trust.command("remove")
@click.argument("key", metavar="ID")
@_for_host
def remove(*, key: str, for_host: bool) -> None:
    """Take back the key with this ID, as `paddock trust list` shows it.

    Exit status: 0 it is gone; 7 no such key is pinned, or the folder cannot be written.
    """
    keys = _store()
    path = keys.remove(key, for_host=for_host)
    if not keys.demanded():
        console.TerminalReporter().warn("no key is pinned here any more, so nobody can vouch for a bundle")
    console.result(str(path))


def _store() -> KeyStore:
    from paddock.bundle.check.keys import KeyStore
    from paddock.bundle.site import state

    return KeyStore(own=state.folder())
