"""`paddock up` and `paddock down`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.keys import key_file_option, key_in
from paddock.cli.stackoptions import StackChoice, stack_options

if TYPE_CHECKING:
    from paddock.stack.launch import Started


@click.command("up")
@stack_options("target_or_dir", "TARGET_OR_DIR", project=True)
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Port of the pipeline API for this start."
)
@click.option(
    "--images",
    type=click.Choice(["own", "upstream"]),
    help="Whose images to run for this start; IMAGES in the stack's .env keeps it.",
)
@click.option(
    "--site",
    is_flag=True,
    help="With the door and several workers for this start; COMPOSE_FILE in the stack's .env keeps it.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a page has been parsed.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up after this time.  [default: the start period of its health checks and 120 s]",
)
@key_file_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def up(
    *,
    choice: StackChoice,
    port: int | None,
    images: str | None,
    site: bool,
    wait: bool,
    timeout: float | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Start a stack and wait until it has parsed a page.

    TARGET_OR_DIR is a target such as cpu, or the folder of a stack (with a compose.yaml). The host is checked
    first: images, weights, port. When a container fails, the wait ends at once with its last lines and what
    they mean.

    Ctrl-C takes down what this command started; a stack that ran before is left alone.

    Exit status: 0 a page came back; 2 no such target or folder; 3 its settings are wrong; 5 no engine; 6
    Compose failed; 8 a container failed or is late; 9 this host lacks something; 130 interrupted.
    """
    from paddock.stack import launch
    from paddock.stack.folder import IMAGES

    report = console.TerminalReporter()
    given = {"API_PORT": str(port or ""), IMAGES: images or ""}
    environment = {name: value for name, value in given.items() if value}
    folder = choice.folder(environment=environment, report=report)
    if site:
        folder = folder.with_site()
    key = key_in(key_file, report)
    _show(launch.up(folder, report=report, wait=wait, timeout=timeout, key=key), as_json=as_json)


@click.command("down")
@stack_options("target_or_dir", "TARGET_OR_DIR", project=True)
@click.option("--volumes", is_flag=True, help="Remove the API key too, and weights that the stack fetched.")
def down(*, choice: StackChoice, volumes: bool) -> None:
    """Stop a stack and remove its containers.

    TARGET_OR_DIR is a target such as cpu, or the folder of a stack. Weights, images and settings stay.
    """
    from paddock.stack import launch

    launch.down(choice.folder(), report=console.TerminalReporter(), volumes=volumes)


def _show(started: Started, *, as_json: bool) -> None:
    from paddock.weights.markers import NOTICE, TEST_NOTICE

    if as_json:
        console.result_json(asdict(started) | {"model": started.model or None})
        return
    if started.url:
        console.result(started.url)
    if started.certificate:
        console.result(f"certificate: {started.certificate}")
    if started.weights:
        names = [f"{weights.name} (test)" if weights.test else weights.name for weights in started.weights]
        console.result(f"weights: {', '.join(names)}")
    if any(weights.test for weights in started.weights):
        console.result(TEST_NOTICE)
    if any(weights.embedded for weights in started.weights):
        console.result(NOTICE)
