"""The functional check of a running stack.

Every task goes straight to the VLM server, then an image and a PDF go through the pipeline API, and each
answer is compared with what stands on our own small documents. A server that is served alone is asked to read
one of them.

Test weights read nothing: of them the constant text is expected, and reading counts as not checked. The
embedded model reads lines of plain print: it is asked for that task alone, and gets documents of such lines.
Nothing is started, changed or kept.
"""

from __future__ import annotations

import shlex
from contextlib import closing

from paddock import engine
from paddock.engine import docker
from paddock.errors import UnhealthyError
from paddock.matrix.records import Task
from paddock.parse import readiness
from paddock.parse.client import Client
from paddock.report import Reporter
from paddock.smoke.documents import check_documents
from paddock.smoke.questions import TIMEOUT, questions_for
from paddock.smoke.served import (
    expectation_of,
    served_alone,
    service_with_pipeline,
    tasks_of,
    test_weights_in,
)
from paddock.smoke.verdicts import NO_READING, READS_PLAIN, Side, Smoke, judged
from paddock.stack import containers, entrance
from paddock.stack.configuration import Configuration
from paddock.stack.folder import StackFolder


def check_url(url: str, *, report: Reporter, timeout: float = TIMEOUT, key: str = "") -> Smoke:
    """Check what can be seen from outside: the pipeline API. `timeout` is seconds for one answer.

    `key` is for an API that wants one.
    Test weights are recognised by their usual text. Raises UsageError for what is no URL.
    """
    client = Client(url, key=key, timeout=timeout, resends=0)
    left_out = "the VLM server was not asked directly: only the engine of its stack reaches it"
    report.warn(left_out)
    state = readiness.ask(client.base)
    checks = tuple(check_documents(client, READS_PLAIN if state.notice else None, report))
    test = any(check.reason == NO_READING for check in checks)
    return Smoke(
        name=client.url,
        url=client.url,
        model=state.model,
        test_weights=("told by their text",) if test else (),
        checks=checks,
        left_out=left_out,
        notice=state.notice,
    )


def check_stack(folder: StackFolder, *, report: Reporter, timeout: float = TIMEOUT, key: str = "") -> Smoke:
    """Check a running stack from both sides. `timeout` is seconds for one answer.

    `key` is for a pipeline API that wants one.
    Raises EngineError, ConfigurationError for a stack that serves no model, UnhealthyError for one that does
    not run, ProgramError where the container that asks cannot run our questions.
    """
    configuration = folder.read()
    with closing(engine.connect()) as client:
        return _check_stack(folder, configuration, client=client, report=report, timeout=timeout, key=key)


def _check_stack(
    folder: StackFolder,
    configuration: Configuration,
    *,
    client: docker.DockerClient,
    report: Reporter,
    timeout: float,
    key: str,
) -> Smoke:
    listed = containers.of_project(client, configuration.project)
    present = {container.service: container for container in listed}
    api = service_with_pipeline(configuration)
    asking = api or served_alone(folder, configuration)
    url = entrance.url_of(client, listed, service=asking.name) or ""
    runs = asking.name in present and present[asking.name].state == "running"
    if not runs or (api is not None and not url):
        raise _not_running(folder, Side.VLM if api is None else Side.API)
    test = test_weights_in(client, configuration, present)
    notice = readiness.ask(url).notice if api is not None else ""
    if notice:
        expectation = READS_PLAIN
    else:
        expectation = expectation_of(client, test, present, api=api.name if api is not None else "")
    questions = questions_for(
        asking, present[asking.name], timeout, alone=api is None, plain=expectation.plain
    )
    tasks = tasks_of(api) if api is not None and not expectation.plain else (Task.OCR,)
    answers = questions.ask(tasks, report)
    checks = [judged(answer, expectation) for answer in answers.by_task.values()]
    if api is not None:
        pipeline_api = Client(url, key=key, timeout=timeout, resends=0)
        checks += check_documents(pipeline_api, expectation, report)
    return Smoke(
        name=folder.name,
        url=url,
        model=answers.model,
        test_weights=tuple(dict.fromkeys(weights.name for weights in test)),
        checks=tuple(checks),
        notice=notice,
    )


def _not_running(folder: StackFolder, side: Side) -> UnhealthyError:
    stack = folder.options or shlex.quote(folder.name)
    return UnhealthyError(f"{folder.name}: its {side} does not run", hint=f"`paddock up {stack}` starts it")
