"""The functional check of a running stack: every task straight to its VLM server, then an image and a PDF
through its pipeline API, each compared with what stands on our own small documents. A server that is served
alone is asked to read one of them.

Test weights read nothing: of them the constant text is expected, and reading counts as not checked. The
embedded model reads lines of plain print: it is asked for that task alone, and gets documents of such lines.
Nothing is started, changed or kept.
"""

from __future__ import annotations

from paddock import engine
from paddock.errors import UnhealthyError
from paddock.matrix.records import Task
from paddock.parse import readiness
from paddock.parse.client import Client
from paddock.report import Reporter
from paddock.smoke.documents import documents
from paddock.smoke.questions import TIMEOUT, questions_for
from paddock.smoke.served import (
    expectation_of,
    served_alone,
    service_with_pipeline,
    tasks_of,
    test_weights_in,
)
from paddock.smoke.verdicts import NO_READING, READS_PLAIN, Side, Smoke, judged
from paddock.stack import containers
from paddock.stack.folder import StackFolder


def check_url(url: str, *, report: Reporter, timeout: float = TIMEOUT) -> Smoke:
    """Check what can be seen from outside: the pipeline API. `timeout` is seconds for one answer.

    Test weights are told by their usual text. Raises UsageError for what is no URL.
    """
    client = Client(url, timeout=timeout, resends=0)
    left_out = "the VLM server was not asked directly: only the engine of its stack reaches it"
    report.warn(left_out)
    state = readiness.ask(client.base)
    checks = tuple(documents(client, READS_PLAIN if state.notice else None, report))
    test = any(check.reason == NO_READING for check in checks)
    return Smoke(
        called=client.url,
        url=client.url,
        model=state.model,
        test_weights=("told by their text",) if test else (),
        checks=checks,
        left_out=left_out,
        notice=state.notice,
    )


def check_stack(folder: StackFolder, *, report: Reporter, timeout: float = TIMEOUT) -> Smoke:
    """Check a running stack from both sides. `timeout` is seconds for one answer.

    Raises EngineError, ConfigurationError for a stack that serves no model, UnhealthyError for one that does
    not run, ProgramError where the container that asks cannot run our questions.
    """
    configuration = folder.read()
    client = engine.connect()
    present = {each.service: each for each in containers.of_project(client, configuration.project)}
    api = service_with_pipeline(configuration)
    asking = api or served_alone(folder, configuration)
    side = Side.VLM if api is None else Side.API
    url = containers.url_of(list(present.values()), service=asking.name) or ""
    if asking.name not in present or present[asking.name].state != "running" or (api and not url):
        raise UnhealthyError(
            f"{folder.called}: its {side} does not run", hint=f"`paddock up {folder.named}` starts it"
        )
    test = test_weights_in(client, configuration, present)
    notice = readiness.ask(url).notice if api else ""
    expectation = (
        READS_PLAIN if notice else expectation_of(client, test, present, api=api.name if api else "")
    )
    questions = questions_for(
        asking, present[asking.name], timeout, alone=api is None, plain=expectation.plain
    )
    answers = questions.ask(tasks_of(api) if api and not expectation.plain else (Task.OCR,), report)
    checks = [judged(task, answer, expectation) for task, answer in answers.by_task.items()]
    if api:
        checks += documents(Client(url, timeout=timeout, resends=0), expectation, report)
    return Smoke(
        called=folder.called,
        url=url,
        model=answers.model,
        test_weights=tuple(dict.fromkeys(each.name for each in test)),
        checks=tuple(checks),
        notice=notice,
    )
