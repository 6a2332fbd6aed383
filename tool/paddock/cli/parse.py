"""`paddock parse`."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.keys import key_file_option, key_in
from paddock.errors import EngineError, UsageError

if TYPE_CHECKING:
    from paddock.parse.batch import Collected, Outcome, Summary
    from paddock.parse.readiness import Readiness
    from paddock.report import Reporter


def default_url() -> str:
    """The pipeline API at API_PORT, else the only one that runs here, else the one at the usual port."""
    usual = f"http://127.0.0.1:{os.environ.get('API_PORT') or 8080}"
    running = [] if os.environ.get("API_PORT") else _running_apis()
    if not running or usual in running:
        return usual
    if len(running) > 1:
        raise UsageError(
            f"found several pipeline APIs here: {', '.join(running)}, expected one",
            hint="choose one with --url",
        )
    return running[0]


def _running_apis() -> list[str]:
    """The pipeline APIs that run on this engine; none where no engine answers, since parsing needs none."""
    from paddock import engine
    from paddock.stack import containers

    try:
        with closing(engine.connect()) as client:
            running = [container for container in containers.ours(client) if container.state == "running"]
    except EngineError:
        return []
    stacks = groupby(running, key=lambda container: container.project)
    return [url for _, stack in stacks if (url := containers.url_of(tuple(stack))) is not None]


@click.command("parse")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results; made when it is not there.",
)
@click.option(
    "--url",
    envvar="PADDOCK_URL",
    default=default_url,
    show_envvar=True,
    show_default="at API_PORT; the one that runs here; at 8080",
    help="The pipeline API.",
)
@key_file_option
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    metavar="N",
    help="Documents sent at the same time.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="S",
    help="Seconds that one document may take, from sending to the last byte of its answer.",
)
@click.option("--force", is_flag=True, help="Parse finished documents again.")
@click.option("--restructure", is_flag=True, help="Join tables that run over pages, and level the titles.")
@click.option("--no-pictures", is_flag=True, help="Leave out the layout pictures: smaller and quicker.")
@click.option(
    "--plain-markdown",
    is_flag=True,
    help="Keep Markdown without HTML: tables become pipe tables, links lead to the web only.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def parse(
    *,
    files: tuple[Path, ...],
    output: Path,
    url: str,
    key_file: Path | None,
    jobs: int,
    timeout: float,
    force: bool,
    restructure: bool,
    no_pictures: bool,
    plain_markdown: bool,
    as_json: bool,
) -> None:
    """Send documents to a pipeline API; keep Markdown, JSON and layout pictures.

    FILES are PDF, PNG, JPEG and TIFF files, told by their content, and folders of them. Each becomes a folder
    below DIR with document.md, document.json and pages/001/ and so on. Finished and unchanged documents are
    not sent again, so an interrupted run goes on when it is repeated. Links that lead out of a folder are
    left out.

    What a page says is not to be trusted: its Markdown holds HTML, which may run in who shows it. Show it
    without HTML, or keep it so with --plain-markdown.

    Exit status: 0 all parsed; 2 some FILES cannot be parsed, or there are none; 8 the API failed or left
    pages out; 9 a result could not be written; 130 interrupted.
    """
    from paddock.parse import readiness
    from paddock.parse.batch import Status, collect, parse_all
    from paddock.parse.client import Client
    from paddock.parse.connection import read_url
    from paddock.parse.wire import ParseOptions

    report = console.TerminalReporter()
    address, key = read_url(url), key_in(key_file, report)
    if address.exposed and (key or address.has_password):
        report.warn(
            f"{address.shown}: a key or password goes there unencrypted; https, or a tunnel, hides it"
        )
    collected = collect(files, output=output)
    if collected.ignored:
        report.say(f"left out: {collected.ignored} other file(s) in these folders")
    client = Client(url, key=key, timeout=timeout)
    summary = parse_all(
        collected.inputs,
        client=client,
        output=output,
        options=ParseOptions(pictures=not no_pictures, restructure=restructure, plain=plain_markdown),
        report=report,
        force=force,
        jobs=jobs,
    )
    _show(summary, collected, url=client.url, output=output, as_json=as_json)
    if summary.count()[Status.DONE]:
        _warn_of_the_model(readiness.ask(client.base), report)
    if failure := summary.failure():
        raise failure


def _warn_of_the_model(answer: Readiness, report: Reporter) -> None:
    from paddock.weights.markers import TEST_NOTICE

    if answer.test_weights:
        report.warn(f"these results come from {TEST_NOTICE}")
    if answer.notice:
        report.warn(answer.notice)


def _show(summary: Summary, collected: Collected, *, url: str, output: Path, as_json: bool) -> None:
    from paddock.parse.batch import LEADS_OUT, Status
    from paddock.parse.document import shown
    from paddock.parse.results import MARKDOWN

    left_out = [{"source": shown(link), "reason": LEADS_OUT} for link in collected.leading_out]
    if as_json:
        documents = [_outcome_record(outcome) for outcome in summary.outcomes]
        record = {"url": url, "output": shown(output), **summary.count(), "documents": documents}
        console.result_json(record | {"left_out": left_out})
        return
    report = console.TerminalReporter()
    for link in left_out:
        report.warn(f"{link['source']}: left out: {link['reason']}")
    whole = [outcome for outcome in summary.outcomes if outcome.pages is not None]
    if whole:
        rows = [
            [outcome.status.value, str(outcome.pages), shown(outcome.folder / MARKDOWN)] for outcome in whole
        ]
        console.table(["STATUS", "PAGES", "RESULT"], rows)
    counts = summary.count()
    report.say(", ".join(f"{counts[status]} {status.value}" for status in Status))


def _outcome_record(outcome: Outcome) -> dict[str, object]:
    from paddock.parse.document import shown

    return {
        "source": outcome.source,
        "status": outcome.status.value,
        "folder": shown(outcome.folder) if outcome.pages is not None else None,
        "pages": outcome.pages,
        "reason": outcome.error.message if outcome.error else None,
        "hint": (outcome.error.hint or None) if outcome.error else None,
    }
