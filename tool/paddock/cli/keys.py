"""`paddock keys`: the keys of a pipeline API's clients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.errors import quoted

if TYPE_CHECKING:
    from paddock.report import Reporter

key_file_option = click.option(
    "--key-file",
    envvar="PADDOCK_KEY_FILE",
    show_envvar=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the API key, where the pipeline API wants one.",
)

_file = click.option(
    "--file",
    "path",
    metavar="FILE",
    default=Path("/etc/paddock/api-keys/keys"),
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file of keys: `keys` in the folder that API_KEYS_DIR in the stack's .env names.",
)


def key_in(path: Path | None, report: Reporter) -> str:
    """The key in the file that `--key-file` names; empty where none is named."""
    from paddock.apikeys import sent

    if path is None:
        return ""
    found = sent.read(path)
    if found.warning:
        report.warn(found.warning)
    return found.key


@click.group("keys")
def keys() -> None:
    """Add, list and revoke the keys of a pipeline API's clients.

    The file holds names and hashes, no keys. The API, or the door of a site, reads it again whenever it
    changes: nothing is to be restarted. It does so as the group 0, so the file has mode 0640 and keeps its
    group.
    """


_limit = click.IntRange(1, 999_999_999)


@keys.command("add")
@click.argument("name")
@_file
@click.option("--allow", type=click.Choice(["vlm"]), help="At a site's door: ask the VLM server itself, too.")
@click.option("--at-once", type=_limit, metavar="N", help="At a site's door: most requests that are open.")
@click.option("--per-minute", type=_limit, metavar="N", help="At a site's door: most requests a minute.")
@click.option("--mib-per-hour", type=_limit, metavar="N", help="At a site's door: most MiB sent in an hour.")
def add(
    name: str,
    path: Path,
    *,
    allow: str | None,
    at_once: int | None,
    per_minute: int | None,
    mib_per_hour: int | None,
) -> None:
    """Make a key for the client NAME, and print it: this is the only time that it can be seen.

    Send it to a file that only the client's user can read, which `paddock parse --key-file` takes:

    \b
    (umask 077; paddock keys add scanner > scanner.key)

    Exit status: 0 made; 2 NAME is taken; 3 the file cannot be read or written.
    """
    from paddock.apikeys import accepted

    allowance = accepted.Allowance(
        vlm=allow == "vlm", at_once=at_once, per_minute=per_minute, mib_per_hour=mib_per_hour
    )
    key = accepted.add(path, name, allowance)
    report = console.TerminalReporter()
    report.say(f"{path}: has the key {name} now; what follows is shown this once")
    if path.stat().st_gid != 0:
        report.warn(f"{path}: the pipeline API reads it as the group 0: `sudo chgrp 0 {quoted(path)}`, once")
    console.result(key)


@keys.command("list")
@_file
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: Path, *, as_json: bool) -> None:
    """Print the names of the keys, and what each may at the door of a site beyond the others.

    Exit status: 0 printed; 3 the file cannot be read, or has a line that is no key.
    """
    from paddock.apikeys import accepted

    listed = accepted.listed(path)
    if as_json:
        options = {entry.name: entry.options for entry in listed if entry.options}
        console.result_json({"file": str(path), "keys": [entry.name for entry in listed], "options": options})
        return
    for entry in listed:
        console.result(f"{entry.name} {entry.options}".rstrip())
    if not listed:
        console.TerminalReporter().say(f"{path}: has no key, so nobody may ask")


@keys.command("revoke")
@click.argument("name")
@_file
def revoke(name: str, path: Path) -> None:
    """Take the key NAME away: who has it is refused from the next request on.

    Exit status: 0 done; 2 there is no such key; 3 the file cannot be read or written.
    """
    from paddock.apikeys import accepted

    accepted.revoke(path, name)
    console.TerminalReporter().say(f"{path}: has no key {name} any more")
