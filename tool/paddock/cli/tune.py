"""`paddock tune`."""

from __future__ import annotations

import shlex

import click

from paddock import console, paths
from paddock.cli.stackoptions import complete_target
from paddock.errors import UsageError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Profile, Variant
from paddock.render.stackfolders import locate
from paddock.tuning import profiles, tunedfile
from paddock.tuning.sizing import Tuning, Wish
from paddock.tuning.sizing import tune as size

API_PARALLEL_REQUESTS = 8  # of a stack's .env


@click.command("tune")
@click.argument("target", metavar="[TARGET]", required=False, shell_complete=complete_target)
@click.option("--backend", metavar="NAME", help="Serving program, where it is not the target's default.")
@click.option("--model", metavar="NAME", help="Model, where it is not the target's default.")
@click.option("--offline", is_flag=True, help="The variant whose images hold the weights.")
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
    target: str | None,
    backend: str | None,
    model: str | None,
    offline: bool,
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
    known = load_registry(paths.templates())
    cards = profiles.load(paths.templates(), known)
    if as_list:
        _show_cards(list(cards.values()), as_json=as_json)
        return
    if target is None:
        raise UsageError("found no TARGET, expected one", hint=f"targets: {', '.join(known.targets)}")
    variant = Variant.OFFLINE if offline else Variant.ONLINE
    stack = known.stack(target=target, backend=backend, model=model, variant=variant)
    profile = profiles.choose(cards, stack.target, card=card, memory=vram)
    wish = Wish(concurrency=concurrency, context=context, memory=vram, own_card=own_card)
    tuning = size(stack, profile, wish)
    report = console.TerminalReporter()
    text = tunedfile.text(paths.templates(), tuning, command=_command())
    if as_json:
        console.result_json(_machine(tuning))
    elif not write:
        console.result(text.rstrip("\n"))
    if write:
        folder = locate(target, backend=backend, model=model, offline=offline, report=report)
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
        rows = [
            {
                "card": each.name,
                "accelerator": each.accelerator.value,
                "memory_gb": each.memory,
                "description": each.description,
            }
            for each in cards
        ]
        console.result_json({"cards": rows})
        return
    rows_of_text = [
        [each.name, each.accelerator.value, f"{each.memory:g}", each.description] for each in cards
    ]
    console.table(("CARD", "ACCELERATOR", "GB", "DESCRIPTION"), rows_of_text)


def _machine(tuning: Tuning) -> dict[str, object]:
    room = tuning.room
    return {
        "stack": tuning.stack.name,
        "card": tuning.profile.name,
        "settings": {each.option: {"value": each.value, "origin": each.origin} for each in tuning.settings},
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
            {"name": each.name, "value": each.value, "gain": each.gain, "price": each.price}
            for each in tuning.offers
        ],
        "notes": list(tuning.notes),
    }
