"""`paddock smoke`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.keys import key_file_option, key_in
from paddock.cli.stackoptions import StackChoice, stack_options
from paddock.errors import UsageError
from paddock.report import clipped

if TYPE_CHECKING:
    from paddock.smoke.verdicts import Check, Smoke


@click.command("smoke")
@stack_options("target_or_url", "TARGET|URL", project=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for one answer.",
)
@key_file_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def smoke(*, choice: StackChoice, timeout: float, key_file: Path | None, as_json: bool) -> None:
    """Ask a running stack for every task, and compare what it reads with what is written.

    TARGET is a target such as cpu, or the folder of a stack: the VLM server is asked directly (text, table,
    formula, chart; spotting and seal where the model has them), then an image and a PDF go through the
    pipeline API. With the URL of a pipeline API only the second half can be done. A model that is served
    alone is asked to read a picture. Test weights read nothing, so their reading is not checked. The embedded
    model is asked for plain lines only.

    Exit status: 0 all answers are as they should be; 2 no such target; 3 a stack that serves no model; 5 no
    engine; 6 the questions could not be asked; 8 an answer is missing or wrong, with the side that it is.
    """
    from paddock.smoke.check import check_stack, check_url

    report = console.TerminalReporter()
    key = key_in(key_file, report)
    if url := _url(choice):
        result = check_url(url, report=report, timeout=timeout, key=key)
    else:
        result = check_stack(choice.folder(), report=report, timeout=timeout, key=key)
    _show(result, as_json=as_json)
    if failure := result.failure():
        raise failure


def _url(choice: StackChoice) -> str:
    """The URL in the place of a target; empty where it is none."""
    if not choice.target or not choice.target.startswith(("http://", "https://")):
        return ""
    if choice.has_options or choice.project:
        raise UsageError(
            "--backend, --model, --offline, --project: found a URL, expected a TARGET with these"
        )
    return choice.target


def _show(result: Smoke, *, as_json: bool) -> None:
    from paddock.smoke.verdicts import NO_READING

    if as_json:
        console.result_json(_smoke_record(result))
        return
    headings = ("SIDE", "CHECK", "RESULT", "SECONDS", "ANSWER", "NOTE")
    console.table(headings, [_row(check) for check in result.checks])
    if any(check.reason == NO_READING for check in result.checks):
        console.result(NO_READING)
    if result.notice:
        console.result(result.notice)


def _row(check: Check) -> list[str]:
    note = str(check.measure) if check.measure and check.ok else check.reason
    return [
        check.side.value,
        check.name,
        check.verdict.value,
        f"{check.seconds:.2f}",
        clipped(check.answer, 40) or "-",
        clipped(note, 100) or "-",
    ]


def _smoke_record(result: Smoke) -> dict[str, object]:
    return {
        "stack": result.name,
        "url": result.url or None,
        "model": result.model or None,
        "ok": result.failure() is None,
        "test_weights": list(result.test_weights),
        "left_out": result.left_out or None,
        "notice": result.notice or None,
        "checks": [_check_record(check) for check in result.checks],
    }


def _check_record(check: Check) -> dict[str, object]:
    measure = check.measure
    return {
        "side": check.side.value,
        "check": check.name,
        "result": check.verdict.value,
        "seconds": round(check.seconds, 3),
        "answer": check.answer,
        "share_wrong": round(measure.share, 4) if measure else None,
        "share_allowed": measure.limit if measure else None,
        "of": measure.what if measure else None,
        "reason": check.reason or None,
    }
