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
    from paddock.parse.batch import Outcome, Summary
    from paddock.parse.collecting import Collected
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
    from paddock.stack import containers, entrance

    try:
        with closing(engine.connect()) as client:
            running = [container for container in containers.ours(client) if container.state == "running"]
            stacks = groupby(running, key=lambda container: container.project)
            return [url for _, stack in stacks if (url := entrance.url_of(client, tuple(stack))) is not None]
    except EngineError:
        return []


@click.command("parse")
@click.argument(  # one that cannot be read costs only itself
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False)
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, readable=False),
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
@click.option("--strict", is_flag=True, help="Let warnings and links that are left out count as failures.")
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
    strict: bool,
    as_json: bool,
) -> None:
    """Send documents to a pipeline API; keep Markdown, JSON and layout pictures.

    FILES are PDFs, pictures and office documents, told by their content, and folders of them. Each becomes a
    folder below DIR with document.md, document.json and pages/001/ and so on. Finished and unchanged
    documents are not sent again, so an interrupted run goes on when it is repeated, also with those of which
    a page failed. Links that lead out of a folder are left out; --json names all that is left out.

    What a page says is not to be trusted: its Markdown holds HTML, which may run in who shows it. Show it
    without HTML, or keep it so with --plain-markdown.

    Exit status: 0 all parsed; 2 some FILES, or pages of them, cannot be parsed, or there are none; 8 the API
    failed, or left pages out, or with --strict a page came back without a word, cut short or repeating
    itself; 9 a result could not be written; 130 interrupted.
    """
    from paddock.parse import readiness
    from paddock.parse.batch import Status, parse_all
    from paddock.parse.client import Client
    from paddock.parse.collecting import Reason, collect
    from paddock.parse.connection import read_url
    from paddock.parse.wire import ParseOptions

    report = console.TerminalReporter()
    address, key = read_url(url), key_in(key_file, report)
    if address.exposed and (key or address.has_password):
        report.warn(
            f"{address.shown}: a key or password goes there unencrypted; https, or a tunnel, hides it"
        )
    collected = collect(files, output=output)
    if others := collected.left_out_as(Reason.OTHER):
        report.say(f"left out: {len(others)} other file(s) in these folders")
    client = Client(url, key=key, timeout=timeout, say=report.say)
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
    counts = summary.count()
    if counts[Status.DONE] or counts[Status.PARTLY]:
        _warn_of_the_model(readiness.ask(client.base), report)
    if failure := summary.failure(strict=strict):
        raise failure
    if strict and (links := collected.left_out_as(Reason.LEADS_OUT)):
        raise UsageError(
            f"{len(links)} link(s) were left out, expected none with --strict",
            hint="name what they lead to on the command line, or remove them",
        )


def _warn_of_the_model(answer: Readiness, report: Reporter) -> None:
    from paddock.weights.markers import TEST_NOTICE

    if answer.test_weights:
        report.warn(f"these results come from {TEST_NOTICE}")
    if answer.notice:
        report.warn(answer.notice)


def _show(summary: Summary, collected: Collected, *, url: str, output: Path, as_json: bool) -> None:
    from paddock.parse.batch import counted
    from paddock.parse.collecting import Reason
    from paddock.parse.document import shown
    from paddock.parse.results import MARKDOWN

    if as_json:
        console.result_json(
            {
                "url": url,
                "output": shown(output),
                **summary.count(),
                "documents": [_outcome_record(outcome) for outcome in summary.outcomes],
                "left_out": [
                    {"source": shown(entry.path), "reason": entry.reason} for entry in collected.left_out
                ],
            }
        )
        return
    report = console.TerminalReporter()
    for link in collected.left_out_as(Reason.LEADS_OUT):
        report.warn(f"{shown(link)}: left out: {Reason.LEADS_OUT}")
    rows = list[list[str]]()
    for outcome in summary.outcomes:
        if outcome.result is None:
            continue
        rows.append([outcome.status, str(outcome.result.pages), shown(outcome.folder / MARKDOWN)])
        if outcome.result.notes:
            report.say(f"{outcome.source}: {'; '.join(outcome.result.notes)}")
        if outcome.warnings:
            report.warn(f"{outcome.source}: {counted(outcome.warnings)}")
    if rows:
        console.table(["STATUS", "PAGES", "RESULT"], rows)
    counts = {**summary.count(), "with warnings": sum(bool(outcome.warnings) for outcome in summary.outcomes)}
    counts["left out"] = len(collected.left_out)
    report.say(", ".join(f"{count} {what}" for what, count in counts.items()))


def _outcome_record(outcome: Outcome) -> dict[str, object]:
    from paddock.parse.document import shown

    result = outcome.result
    return {
        "source": outcome.source,
        "status": outcome.status.value,
        "folder": shown(outcome.folder) if result else None,
        "pages": result.pages if result else None,
        "converted_from": result.converted_from if result else None,
        "notes": result.notes if result else (),
        "problems": [problem.recorded() for problem in result.problems] if result else [],
        "reason": outcome.error.message if outcome.error else None,
        "hint": (outcome.error.hint or None) if outcome.error else None,
    }
