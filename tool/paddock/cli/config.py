"""`paddock config`: the settings of a stack."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.stackoptions import StackChoice, stack_options
from paddock.errors import UsageError

if TYPE_CHECKING:
    from paddock.stack.settings import Setting

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("config")
def config() -> None:
    """Show and change the settings of a stack: those in its `.env`.

    A variable of this shell counts before `.env`, and what is in neither has a default.
    """


@config.command("list")
@stack_options("target_or_dir", "TARGET_OR_DIR")
@_json
def list_(*, choice: StackChoice, as_json: bool) -> None:
    """Show every setting: its value, where that comes from, and what it is."""
    from paddock.stack.settings import settings

    found = settings(choice.folder())
    if as_json:
        console.result_json({"settings": [asdict(setting) for setting in found]})
        return
    rows = [[setting.name, setting.value or "-", setting.origin, setting.meaning] for setting in found]
    console.table(("SETTING", "VALUE", "FROM", "MEANING"), rows)


@config.command("get")
@stack_options("target_or_dir", "TARGET_OR_DIR")
@click.argument("name")
@_json
def get(*, choice: StackChoice, name: str, as_json: bool) -> None:
    """Print the value of one setting."""
    from paddock.stack.settings import setting

    found: Setting = setting(choice.folder(), name)
    if as_json:
        console.result_json(asdict(found))
    else:
        console.result(found.value)


@config.command("set")
@stack_options("target_or_dir", "TARGET_OR_DIR")
@click.argument("assignment", metavar="NAME=VALUE")
@_json
def set_(*, choice: StackChoice, assignment: str, as_json: bool) -> None:
    """Write a value to the stack's `.env`, quoted so that Compose reads exactly that.

    Everything else in the file stays as it is. An empty value is the default. Containers that run go on with
    what they have: `paddock up` makes those anew that the setting is for.

    Exit status: 0 written; 2 no such setting; 3 Compose refuses the value; 9 the file cannot be written.
    """
    from paddock.stack.settings import change

    name, equals, value = assignment.partition("=")
    if not equals:
        raise UsageError(f"{assignment}: found no =, expected NAME=VALUE")
    report = console.TerminalReporter()
    folder = choice.folder(report=report)
    done = change(folder, name, value, report=report)
    if as_json:
        console.result_json(asdict(done) | {"path": str(done.path)})
    else:
        console.result(f"{done.name}: {done.before or '(empty)'} -> {done.after or '(empty)'} in {done.path}")
    if done.hidden_by is not None:
        report.warn(
            f"{name}: this shell has {done.hidden_by or 'it empty'}, which counts before .env; `unset {name}`"
        )
    if done.services:
        names = ", ".join(done.services)
        report.say(f"takes effect when {names} is made anew: `{folder.paddock('up')}` does that")
    elif done.services is not None:
        report.say("nothing changes for the stack as it is configured now")
