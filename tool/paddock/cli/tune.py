"""`paddock tune`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.stackoptions import StackChoice, stack_options

if TYPE_CHECKING:
    from paddock.tuning.profiles import Profile
    from paddock.tuning.sizing import Tuning

API_PARALLEL_REQUESTS = 8  # of a stack's .env


@click.command("tune")
@stack_options("target", "[TARGET]", required=False)
@click.option("--vram", type=click.FloatRange(min=0, min_open=True), metavar="GB", help="Memory of the card.")
@click.option("--card", metavar="NAME", help="A card by its name; --list shows them.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    default=API_PARALLEL_REQUESTS,
    show_default=True,
    metavar="N",
    help="Documents parsed at the same time.",
)
@click.option(
    "--context",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="Tokens of one request.  [default: the model's limit]",
)
@click.option("--own-card", is_flag=True, help="No layout model on the VLM server's card.")
@click.option("--write", is_flag=True, help="Put the file into the stack's folder.")
@click.option("--list", "as_list", is_flag=True, help="Show the cards that are known.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tune(
    *,
    choice: StackChoice,
    vram: float | None,
    card: str | None,
    concurrency: int,
    context: int | None,
    own_card: bool,
    write: bool,
    as_list: bool,
    as_json: bool,
) -> None:
    """Size a VLM server for a card, and print its configuration file with the origin of each value.

    Room is left for the layout model where it works on the same card. What a vendor published for a card goes
    before our own rules as long as it fits. Nothing is measured: the figures are those of the data, some of
    them estimates.

    Exit status: 0 it fits; 2 no such target or card; 3 it cannot fit, with the reason.
    """
    from paddock import paths
    from paddock.matrix.load import load_registry
    from paddock.tuning import profiles, sizing, tunedfile

    known = load_registry(paths.templates())
    cards = profiles.load(paths.templates(), known)
    if as_list:
        _show_cards(list(cards.values()), as_json=as_json)
        return
    stack = choice.stack(known)
    profile = profiles.choose(cards, stack.target, card=card, memory=vram)
    wish = sizing.Wish(concurrency=concurrency, context=context, memory=vram, own_card=own_card)
    tuning = sizing.tune(stack, profile, wish)
    report = console.TerminalReporter()
    text = tunedfile.text(paths.templates(), tuning, command=_command())
    if as_json:
        console.result_json(_tuning_record(tuning))
    elif not write:
        console.result(text.rstrip("\n"))
    if write:
        folder = choice.folder(report=report)
        path = tunedfile.write(folder.path, tuning, text)
        report.say(f"{path}: written; restart the container: {folder.command_line('restart', 'vlm')}")
    for note in tuning.notes:
        report.say(f"note: {note}")
    if concurrency != API_PARALLEL_REQUESTS:
        report.say(f"note: set API_PARALLEL_REQUESTS={concurrency} in the .env of the stack")


def _command() -> str:
    """This call as one could repeat it."""
    context = click.get_current_context()
    words = ["paddock", "tune"]
    for parameter in context.command.params:
        value = context.params[parameter.name or ""]
        if parameter.name == "target":
            words.append(str(value))
        elif isinstance(value, bool):
            words += [parameter.opts[0]] if value and parameter.name not in ("write", "as_json") else []
        elif value is not None:
            words += [parameter.opts[0], f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _show_cards(cards: list[Profile], *, as_json: bool) -> None:
    if as_json:
        records = [
            {
                "card": card.name,
                "accelerator": card.accelerator,
                "memory_gb": card.memory,
                "description": card.description,
            }
            for card in cards
        ]
        console.result_json({"cards": records})
        return
    rows = [[card.name, card.accelerator, f"{card.memory:g}", card.description] for card in cards]
    console.table(("CARD", "ACCELERATOR", "GB", "DESCRIPTION"), rows)


def _tuning_record(tuning: Tuning) -> dict[str, object]:
    room = tuning.room
    return {
        "stack": tuning.stack.name,
        "card": tuning.profile.name,
        "settings": {
            setting.option: {"value": setting.value, "origin": setting.origin} for setting in tuning.settings
        },
        "room_gib": {
            "memory": room.memory,
            "layout": room.layout,
            "reserve": round(room.reserve, 3),
            "program": room.program,
            "weights": room.weights,
            "batch": round(room.batch, 3),
            "kv": round(room.kv, 3),
        },
        "offers": [
            {"name": offer.name, "value": offer.value, "gain": offer.gain, "price": offer.price}
            for offer in tuning.offers
        ],
        "notes": list(tuning.notes),
    }
