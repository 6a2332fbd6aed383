"""The functional check of a running stack: every task straight to its VLM server, then an image and a PDF through its
pipeline API, each compared with what stands on our own small documents. A server that is served alone is asked to read
one of them.

Test weights read nothing: of them the constant text is expected, and reading counts as not checked. The embedded model
reads lines of plain print: it is asked for that task alone, and gets documents of such lines.
Nothing is started, changed or kept.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import docker
import yaml

from paddock import containers, engine, process, readiness, reading, weightsinuse
from paddock.client import Client, ParseOptions
from paddock.containers import BACKEND, Container
from paddock.document import Document, Kind
from paddock.errors import ConfigurationError, PaddockError, UnhealthyError
from paddock.matrix import Task
from paddock.reading import Measure
from paddock.report import Reporter
from paddock.stackfolder import Bind, Configuration, Service, StackFolder
from paddock.testweights import vlm
from paddock.weightsinuse import TEST_MARKER, WeightsInUse

TIMEOUT = 600.0  # seconds for one answer; PaddleX gives one block as much
PROGRAM = Path(__file__).parent / "vlm_questions.py"
DOCUMENTS = Path(__file__).parent / "smoke_documents"
NO_READING = "test weights: reading was not checked"

# What PaddleX asks for each task (PaddleX 3.7.2, inference/pipelines/paddleocr_vl/pipeline.py).
PROMPTS = {
    Task.OCR: "OCR:",
    Task.TABLE: "Table Recognition:",
    Task.FORMULA: "Formula Recognition:",
    Task.CHART: "Chart Recognition:",
    Task.SPOTTING: "Spotting:",
    Task.SEAL: "Seal Recognition:",
}
# What a model is asked that is served alone and has none of these tasks, and that it is not to think aloud about it
# (FastDeploy's documents, reasoning output).
FREE_PROMPT = "Write down the text in this picture, line by line, and nothing else."
WITHOUT_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
SERVED_NAME = "PADDOCK_SERVED_NAME"  # in a VLM server's container: the name that its model answers to
# Every VLM server of ours listens there inside its container (templates/image/shared/health.sh).
SERVER_IN_ITS_CONTAINER = "http://127.0.0.1:8080/v1"
# The share of errors that still passes. Chosen for clean print: a server that works is far below, one with the wrong
# weights, chat template or number format far above. They were not measured with upstream's weights.
LIMITS = {
    Task.OCR: 0.05,
    Task.TABLE: 0.10,
    Task.FORMULA: 0.25,
    Task.CHART: 0.25,
    Task.SPOTTING: 0.10,
    Task.SEAL: 0.25,
}
PAGE_LIMIT = 0.10
_EVERY_MODEL = (Task.OCR, Task.TABLE, Task.FORMULA, Task.CHART)
_NEWER_MODELS = (Task.SPOTTING, Task.SEAL)


class Side(StrEnum):
    """Which part of a stack a check asks."""

    VLM = "VLM server"
    API = "pipeline API"


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    ANSWERED = "answered"  # as it should, but whether it can read was not checked
    WRONG = "wrong"  # an answer that is not what it should be
    FAILED = "failed"  # no answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check. `measure` None where nothing was compared; `reason` says what is off, or why nothing was compared."""

    side: Side
    name: str
    verdict: Verdict
    seconds: float
    answer: str = ""
    measure: Measure | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.verdict in (Verdict.PASSED, Verdict.ANSWERED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Smoke:
    """All checks of one stack. `left_out` says what was not asked and why; empty where all was.

    `url` is empty where no port is published; `notice` is what is to be said beside results of this model.
    """

    called: str
    url: str
    model: str
    test_weights: tuple[str, ...]
    checks: tuple[Check, ...]
    left_out: str = ""
    notice: str = ""

    def failure(self) -> UnhealthyError | None:
        """The error to end with: what is off, and on which side."""
        wrong = [each for each in self.checks if not each.ok]
        if not wrong:
            return None
        return UnhealthyError(f"{self.called}: {self.blamed(wrong)}: {_sentence(wrong)}", hint=self._hint(wrong))

    def blamed(self, wrong: Sequence[Check]) -> str:
        """The side that is off. An API cannot read better than its VLM server, so the server is blamed for both."""
        if any(each.side is Side.VLM for each in wrong):
            return str(Side.VLM)
        return f"{Side.API}, or the VLM server behind it" if self.left_out else str(Side.API)

    def _hint(self, wrong: Sequence[Check]) -> str:
        if self.left_out:
            return "run `paddock smoke TARGET` where its engine is: it asks the VLM server directly, too"
        service = "vlm" if any(each.side is Side.VLM for each in wrong) else "api"
        return f"`paddock logs {self.called} {service}` shows what its container prints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What the answers of a stack are compared with.

    `text` is what test weights answer to everything, None where real weights read; `layout` says whether the layout
    model is a real one, so that whole pages can be compared; `plain` that only lines of plain print are read.
    """

    text: str | None
    layout: bool
    plain: bool = False


READS = Expectation(text=None, layout=True)
READS_PLAIN = Expectation(text=None, layout=True, plain=True)


def of_url(url: str, *, report: Reporter, timeout: float = TIMEOUT) -> Smoke:
    """Check what can be seen from outside: the pipeline API. `timeout` is seconds for one answer.

    Test weights are told by their usual text. Raises UsageError for what is no URL.
    """
    client = Client(url, timeout=timeout, resends=0)
    left_out = "the VLM server was not asked directly: only the engine of its stack reaches it"
    report.warn(left_out)
    state = readiness.ask(client.base)
    checks = tuple(_documents(client, READS_PLAIN if state.notice else None, report))
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


def of_stack(folder: StackFolder, *, report: Reporter, timeout: float = TIMEOUT) -> Smoke:
    """Check a running stack from both sides. `timeout` is seconds for one answer.

    Raises EngineError, ConfigurationError for a stack that serves no model, UnhealthyError for one that does not run,
    ProgramError where the container that asks cannot run our questions.
    """
    configuration = folder.read()
    client = engine.connect()
    present = {each.service: each for each in containers.of_project(client, configuration.project)}
    api = _service_with_pipeline(configuration)
    asking = api or _served_alone(folder, configuration)
    side = Side.VLM if api is None else Side.API
    url = containers.url_of(list(present.values()), service=asking.name) or ""
    if asking.name not in present or present[asking.name].state != "running" or (api and not url):
        raise UnhealthyError(f"{folder.called}: its {side} does not run", hint=f"`paddock up {folder.named}` starts it")
    test = _test_weights(client, configuration, present)
    notice = readiness.ask(url).notice if api else ""
    expectation = READS_PLAIN if notice else _expectation(client, test, present, api=api.name if api else "")
    questions = _questions(asking, present[asking.name], timeout, alone=api is None, plain=expectation.plain)
    answers = questions.ask(_tasks(api) if api and not expectation.plain else (Task.OCR,), report)
    checks = [_judged(task, answer, expectation) for task, answer in answers.by_task.items()]
    if api:
        checks += _documents(Client(url, timeout=timeout, resends=0), expectation, report)
    return Smoke(
        called=folder.called,
        url=url,
        model=answers.model,
        test_weights=tuple(dict.fromkeys(each.name for each in test)),
        checks=tuple(checks),
        notice=notice,
    )


# --- the VLM server, from inside a container -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What the VLM server said: the model that it was asked for, and one record of vlm_questions.py a task."""

    model: str
    by_task: Mapping[Task, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """Asks from a container that reaches the VLM server, which `where` tells our program how to find."""

    container: str
    where: Mapping[str, Any]
    timeout: float
    prompts: Mapping[Task, str] = field(default_factory=lambda: PROMPTS)
    extra: Mapping[str, Any] = field(default_factory=dict)  # more of each request
    plain: bool = False  # with pictures of plain print

    def argv(self) -> list[str]:
        """The command that runs our program in the container."""
        return ["docker", "exec", "--interactive", self.container, "python", "-c", PROGRAM.read_text("utf-8")]

    def request(self, tasks: Sequence[Task]) -> str:
        """What the program reads."""
        questions = [
            {
                "name": task.value,
                "prompt": self.prompts[task],
                "png": base64.b64encode(_file(_known(plain=self.plain)["tasks"][task]["file"])).decode(),
                # the corners of spotting are special tokens; as PaddleX asks
                "extra_body": {"skip_special_tokens": task is not Task.SPOTTING, **self.extra},
            }
            for task in tasks
        ]
        return json.dumps({**self.where, "timeout": self.timeout, "questions": questions}) + "\n"

    def ask(self, tasks: Sequence[Task], report: Reporter) -> Answers:
        """Every task's answer. Raises ProgramError when the program does not come to its end."""
        found: list[dict[str, Any]] = []
        report.say(f"{Side.VLM}: {', '.join(tasks)}, asked from inside {self.container}")
        process.stream(self.argv(), on_line=partial(_collect, found, report), stdin=self.request(tasks))
        by_name = {each["name"]: each for each in found if "name" in each}
        absent = {"seconds": 0.0, "error": "it was not asked: our program ended before"}
        model = next((str(each["model"]) for each in found if "model" in each), "")
        return Answers(model=model, by_task={task: by_name.get(task.value, absent) for task in tasks})


def _questions(service: Service, container: Container, timeout: float, *, alone: bool, plain: bool) -> Questions:
    """How a stack's VLM server is asked, from the container of `service`."""
    if not alone:
        where = {"pipeline": _pipeline(service).target}
        return Questions(container=container.name, where=where, timeout=timeout, plain=plain)
    server = {
        "url": SERVER_IN_ITS_CONTAINER,
        "model": service.environment[SERVED_NAME],
        "backend": f"{container.labels.get(BACKEND, '')}-server",
    }
    return Questions(
        container=container.name,
        where={"server": server},
        timeout=timeout,
        prompts={Task.OCR: FREE_PROMPT},
        extra=WITHOUT_THINKING,
    )


def _collect(found: list[dict[str, Any]], report: Reporter, line: str) -> None:
    try:
        value = json.loads(line)
    except ValueError:
        report.say(f"  {line}")
        return
    if isinstance(value, dict):
        found.append(value)
        if "name" in value:
            report.say(f"  {value['name']}: {value['seconds']:.2f} s")


def _judged(task: Task, answer: Mapping[str, Any], expectation: Expectation) -> Check:
    check = partial(Check, side=Side.VLM, name=task.value, seconds=answer["seconds"])
    if "error" in answer:
        return check(verdict=Verdict.FAILED, reason=str(answer["error"]))
    text = str(answer["answer"])
    if expectation.text is not None:
        return check(answer=text, **_of_test_weights([text], expectation.text))
    measure = measured(task, text, plain=expectation.plain)
    if answer.get("cut"):
        return check(answer=text, verdict=Verdict.WRONG, measure=measure, reason="the answer does not end")
    verdict = Verdict.PASSED if measure.ok else Verdict.WRONG
    return check(answer=text, verdict=verdict, measure=measure, reason="" if measure.ok else str(measure))


def measured(task: Task, answer: str, *, plain: bool = False) -> Measure:
    """How far an answer is from what stands on the picture of that task."""
    known, limit = _known(plain=plain)["tasks"][task], LIMITS[task]
    if task is Task.TABLE:
        return reading.table_cells(answer, known["cells"], limit=limit)
    if task is Task.CHART:
        return reading.chart_cells(answer, known["cells"], limit=limit)
    compare = {Task.FORMULA: reading.latex, Task.SPOTTING: reading.spotted}.get(task, reading.characters)
    return compare(answer, known["text"], limit=limit)


# --- the pipeline API, from here -------------------------------------------------------------------------------------


def _documents(client: Client, expectation: Expectation | None, report: Reporter) -> Iterator[Check]:
    plain = expectation is not None and expectation.plain
    for name, known in _known(plain=plain)["documents"].items():
        data = _file(known["file"])
        kind = Kind.PDF if known["file"].endswith(".pdf") else Kind.PNG
        document = Document(
            name=known["file"], kind=kind, size=len(data), pages=len(known["pages"]), open=partial(BytesIO, data)
        )
        report.say(f"{Side.API}: {name}, {len(known['pages'])} page(s)")
        yield _parsed(client, name, document, known["pages"], expectation)


def _parsed(
    client: Client, name: str, document: Document, written: Sequence[Sequence[str]], expectation: Expectation | None
) -> Check:
    began = time.monotonic()
    try:
        pages = [page.markdown for page in client.parse(document, ParseOptions(pictures=False)).pages]
    except PaddockError as failure:
        return Check(
            side=Side.API,
            name=name,
            verdict=Verdict.FAILED,
            seconds=time.monotonic() - began,
            reason=failure.message,
        )
    check = partial(
        Check, side=Side.API, name=name, seconds=time.monotonic() - began, answer="\n\n".join(pages).strip()
    )
    wanted = expectation or _told_by_text(pages)
    if wanted.text is not None:
        return check(**_of_test_weights(pages, wanted.text))
    if not wanted.layout:
        reason = "the layout model is test weights: the page was not compared"
        verdict = Verdict.ANSWERED if all(page.strip() for page in pages) else Verdict.WRONG
        return check(verdict=verdict, reason=reason if verdict is Verdict.ANSWERED else "a page came back empty")
    return check(**_of_pages(pages, written, plain=wanted.plain))


def _of_pages(pages: Sequence[str], written: Sequence[Sequence[str]], *, plain: bool) -> dict[str, Any]:
    if len(pages) != len(written):
        return {"verdict": Verdict.WRONG, "reason": f"found {len(pages)} pages, expected {len(written)}"}
    measures = [
        reading.characters(page, "\n".join(expected), limit=LIMITS[Task.OCR])
        if plain
        else reading.words(page, expected, limit=PAGE_LIMIT)
        for page, expected in zip(pages, written, strict=True)
    ]
    worst = max(measures, key=lambda measure: measure.share)
    if worst.ok:
        return {"verdict": Verdict.PASSED, "measure": worst}
    return {"verdict": Verdict.WRONG, "measure": worst, "reason": str(worst)}


def _of_test_weights(texts: Sequence[str], expected: str) -> dict[str, Any]:
    """Verdict and reason for answers of test weights: each must hold the constant text."""
    if all(expected in text for text in texts):
        return {"verdict": Verdict.ANSWERED, "reason": NO_READING}
    wrong = next(text for text in texts if expected not in text)
    return {"verdict": Verdict.WRONG, "reason": f'found "{clipped(wrong)}", expected the test text "{expected}"'}


def _told_by_text(pages: Sequence[str]) -> Expectation:
    """Without a look at the weights, the usual text of test weights tells them."""
    return Expectation(text=vlm.DEFAULT_TEXT, layout=False) if vlm.DEFAULT_TEXT in "\n".join(pages) else READS


# --- what a stack is -------------------------------------------------------------------------------------------------


def _service_with_pipeline(configuration: Configuration) -> Service | None:
    """The service that reads a pipeline configuration; None in a stack that serves a model alone."""
    return next((each for each in configuration.services if any(map(_is_pipeline, each.binds))), None)


def _pipeline(api: Service) -> Bind:
    return next(bind for bind in api.binds if _is_pipeline(bind))


def _is_pipeline(bind: Bind) -> bool:
    return bind.source.name.startswith("pipeline") and bind.source.suffix == ".yaml"


def _served_alone(folder: StackFolder, configuration: Configuration) -> Service:
    for service in configuration.services:
        if SERVED_NAME in service.environment:
            return service
    raise ConfigurationError(
        f"{folder.called}: found neither pipeline configuration nor {SERVED_NAME}, expected a stack of paddock's",
        hint="`paddock status` shows the stacks of this engine",
    )


def _tasks(api: Service) -> tuple[Task, ...]:
    """The tasks of a stack's model: PaddleX's pipelines of models that read seals have a switch for them."""
    source = _pipeline(api).source
    try:
        configuration = yaml.safe_load(source.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as failure:
        raise ConfigurationError(f"{source}: cannot be read: {' '.join(str(failure).split())}") from failure
    if not isinstance(configuration, dict):
        raise ConfigurationError(f"{source}: found {type(configuration).__name__}, expected a mapping")
    return (*_EVERY_MODEL, *(_NEWER_MODELS if "use_seal_recognition" in configuration else ()))


def _test_weights(
    client: docker.DockerClient, configuration: Configuration, present: Mapping[str, Container]
) -> tuple[WeightsInUse, ...]:
    return tuple(
        each for each in weightsinuse.in_use(configuration) if _marker(client, each, present.get(each.service))
    )


def _marker(client: docker.DockerClient, weights: WeightsInUse, container: Container | None) -> str | None:
    """What the marker of a set of test weights says; None for other weights."""
    if weights.directory is not None and engine.is_local():
        if not weightsinuse.is_test(weights):
            return None
        marker = weights.directory / TEST_MARKER
        return marker.read_text("utf-8") if marker.is_file() else "test weights, by the lock"
    path = f"{weights.in_image}/{weights.name}/{TEST_MARKER}"
    data = containers.file_in(client, container, path) if container is not None else None
    return data.decode("utf-8", "replace") if data is not None else None


def _expectation(
    client: docker.DockerClient, test: Sequence[WeightsInUse], present: Mapping[str, Container], *, api: str
) -> Expectation:
    layout = all(each.service != api for each in test)
    server = next((each for each in test if each.service != api), None)
    if server is None:
        return Expectation(text=None, layout=layout)
    marker = _marker(client, server, present.get(server.service)) or ""
    return Expectation(text=vlm.text_in(marker) or vlm.DEFAULT_TEXT, layout=layout)


@cache
def _known(*, plain: bool = False) -> dict[str, Any]:
    """What stands on our documents, or on those in plain print: of a page its words, or its lines.

    scripts/make-smoke-documents.py wrote it when it drew them.
    """
    known: dict[str, Any] = json.loads((DOCUMENTS / "answers.json").read_text("utf-8"))
    return known["plain"] if plain else known


def _file(name: str) -> bytes:
    return (DOCUMENTS / name).read_bytes()


def clipped(text: str, width: int = 60) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _sentence(wrong: Sequence[Check]) -> str:
    """What is off; checks that are off for the same reason are named together."""
    names: dict[str, list[str]] = {}
    for each in wrong:
        names.setdefault(each.reason, []).append(each.name)
    return "; ".join(f"{', '.join(together)}: {reason}" for reason, together in names.items())
