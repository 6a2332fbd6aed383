"""`paddock smoke`."""

from __future__ import annotations

import click

from paddock import console
from paddock.cli.stackoptions import choices, complete_target, named_by
from paddock.errors import UsageError
from paddock.smoke.check import check_stack, check_url
from paddock.smoke.questions import TIMEOUT
from paddock.smoke.verdicts import NO_READING, Check, Smoke, clipped


@click.command("smoke")
@click.argument("target_or_url", metavar="TARGET|URL", shell_complete=complete_target)
@choices
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Time for one answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def smoke(
    *,
    target_or_url: str,
    backend: str | None,
    model: str | None,
    offline: bool,
    project: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Ask a running stack for every task, and compare what it reads with what is written.

    TARGET is a target such as cpu, or the folder of a stack: the VLM server is asked directly (text, table,
    formula, chart; spotting and seal where the model has them), then an image and a PDF go through the
    pipeline API. With the URL of a pipeline API only the second half can be done. A model that is served
    alone is asked to read a picture. Test weights read nothing, so their reading is not checked. The embedded
    model is asked for plain lines only.

    Exit status: 0 all answers are as they should be; 2 no such target; 3 a stack that serves no model; 5 no
    engine; 6 the questions could not be asked; 8 an answer is missing or wrong, with the side that it is.
    """
    report = console.TerminalReporter()
    if target_or_url.startswith(("http://", "https://")):
        if backend or model or offline or project:
            raise UsageError(
                "--backend, --model, --offline, --project: found a URL, expected a TARGET with these"
            )
        found = check_url(target_or_url, report=report, timeout=timeout)
    else:
        folder = named_by(target_or_url, backend, model, offline, project)
        found = check_stack(folder, report=report, timeout=timeout)
    _show(found, as_json=as_json)
    if failure := found.failure():
        raise failure


def _show(found: Smoke, *, as_json: bool) -> None:
    if as_json:
        console.result_json(_machine(found))
        return
    headings = ("SIDE", "CHECK", "RESULT", "SECONDS", "ANSWER", "NOTE")
    console.table(headings, [_row(check) for check in found.checks])
    if any(check.reason == NO_READING for check in found.checks):
        console.result(NO_READING)
    if found.notice:
        console.result(found.notice)


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


def _machine(found: Smoke) -> dict[str, object]:
    return {
        "stack": found.called,
        "url": found.url or None,
        "model": found.model or None,
        "ok": found.failure() is None,
        "test_weights": list(found.test_weights),
        "left_out": found.left_out or None,
        "notice": found.notice or None,
        "checks": [_machine_check(check) for check in found.checks],
    }


def _machine_check(check: Check) -> dict[str, object]:
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
