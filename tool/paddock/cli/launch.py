"""`paddock up` and `paddock down`."""

from __future__ import annotations

import click

from paddock import console
from paddock.cli.stackoptions import named_by, stack_options
from paddock.stack import launch
from paddock.stack.folder import IMAGES
from paddock.stack.launch import Started
from paddock.weights.markers import NOTICE

TEST_WEIGHTS = "test weights: the text is not read from the page"


@click.command("up")
@stack_options
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Port of the pipeline API for this start."
)
@click.option(
    "--images",
    type=click.Choice(["own", "upstream"]),
    help="Whose images to run for this start; IMAGES in the stack's .env keeps it.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a page has been parsed.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up after this time.  [default: the start period of its health checks and 120 s]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def up(
    *,
    target_or_dir: str,
    backend: str | None,
    model: str | None,
    offline: bool,
    project: str | None,
    port: int | None,
    images: str | None,
    wait: bool,
    timeout: float | None,
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
    report = console.TerminalReporter()
    given = {"API_PORT": str(port or ""), IMAGES: images or ""}
    settings = {name: value for name, value in given.items() if value}
    folder = named_by(target_or_dir, backend, model, offline, project, environment=settings, report=report)
    _show(launch.up(folder, report=report, wait=wait, timeout=timeout), as_json=as_json)


@click.command("down")
@stack_options
@click.option("--volumes", is_flag=True, help="Remove the API key too, and weights that the stack fetched.")
def down(
    *,
    target_or_dir: str,
    backend: str | None,
    model: str | None,
    offline: bool,
    project: str | None,
    volumes: bool,
) -> None:
    """Stop a stack and remove its containers.

    TARGET_OR_DIR is a target such as cpu, or the folder of a stack. Weights, images and settings stay.
    """
    folder = named_by(target_or_dir, backend, model, offline, project)
    launch.down(folder, report=console.TerminalReporter(), volumes=volumes)


def _show(started: Started, *, as_json: bool) -> None:
    if as_json:
        console.result_json(_machine(started))
        return
    if started.url:
        console.result(started.url)
    if started.weights:
        names = ", ".join(f"{each.name} (test)" if each.test else each.name for each in started.weights)
        console.result(f"weights: {names}")
    if any(each.test for each in started.weights):
        console.result(TEST_WEIGHTS)
    if any(each.embedded for each in started.weights):
        console.result(NOTICE)


def _machine(started: Started) -> dict[str, object]:
    return {
        "project": started.project,
        "folder": started.folder,
        "url": started.url,
        "ready": started.ready,
        "model": started.model or None,
        "weights": [
            {"name": each.name, "test": each.test, "embedded": each.embedded} for each in started.weights
        ],
    }
