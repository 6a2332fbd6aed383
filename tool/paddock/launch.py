"""Starting and stopping a stack. `up` is done when a page has gone through both containers, or when it cannot.

What is started is `docker compose up --detach` in the stack's folder, shown as one could type it; everything else here
watches. A stack that fails is left as it is for a look; one that is interrupted is taken down again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO

import docker

from paddock import containers, diagnosis, engine, preflight, process, readiness, testpage, weightsinuse
from paddock.client import Client, ParsedDocument, ParseOptions
from paddock.containers import PROJECT, Container
from paddock.document import Document, Kind
from paddock.errors import EngineError, Interrupted, PaddockError, ProgramError, UnhealthyError
from paddock.report import Reporter
from paddock.stackfolder import Configuration, StackFolder
from paddock.weightsinuse import EMBEDDED_MARKER, TEST_MARKER

POLL = 1.0  # seconds between two looks
SAY_EVERY = 5.0  # seconds between two lines about what is waited for
AFTER_START_PERIOD = 120.0  # seconds that `up` waits longer than the longest start period
SHOWN_LINES = 20
READ_LINES = 60  # for what they mean: a server's own reason often stands above its last traceback


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightSetShown:
    """One weight set that a stack uses, and whether it is test weights or of the embedded model."""

    name: str
    test: bool
    embedded: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A stack after `up`. `url` None for a stack without pipeline API; `ready` False when nobody waited."""

    project: str
    folder: str
    url: str | None
    ready: bool
    model: str
    weights: tuple[WeightSetShown, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a container will not become ready."""

    container: Container
    what: str


def up(folder: StackFolder, *, report: Reporter, wait: bool = True, timeout: float | None = None) -> Started:
    """Start a stack and wait until it has parsed a page.

    `timeout` in seconds; None is the longest start period of its health checks and some more.
    Raises PreflightError before anything was created, UnhealthyError when a container fails or the time is over
    (the stack stays), ProgramError when Compose cannot start it, Interrupted after Ctrl-C (what was started here is
    taken down again).
    """
    with closing(engine.connect()) as client:
        return _up(folder, client=client, report=report, wait=wait, timeout=timeout)


def _up(
    folder: StackFolder, *, client: docker.DockerClient, report: Reporter, wait: bool, timeout: float | None
) -> Started:
    configuration = folder.read()
    preflight.check(folder, configuration, client=client, report=report)
    before = _Before.of(client, configuration.project)
    try:
        for service in (each for each in configuration.services if each.once):
            _run_once(folder, configuration.project, service.name, client=client, report=report)
        _compose(folder, report, "up", "--detach")
        starting = _Starting(
            client=client, folder=folder, configuration=configuration, report=report, before=before.restarts
        )
        url, model = starting.wait(_timeout(configuration, timeout)) if wait else (starting.url(), "")
    except (KeyboardInterrupt, Interrupted):
        _undo(folder, configuration, before, report=report)
        raise Interrupted(f"{folder.called}: interrupted while it started", hint=before.outcome()) from None
    except ProgramError as failure:
        if not before.existed:
            _undo(folder, configuration, before, report=report)
        raise _explained(failure) from None
    return Started(
        project=configuration.project,
        folder=str(folder.path),
        url=url,
        ready=wait,
        model=model,
        weights=weights_of(client, configuration),
    )


def _run_once(
    folder: StackFolder, project: str, service: str, *, client: docker.DockerClient, report: Reporter
) -> None:
    """Run a service that ends by itself and show what it prints; `up --detach` would wait for it in silence."""
    try:
        _compose(folder, report, "up", "--no-log-prefix", f"--exit-code-from={service}", service)
    except ProgramError:
        ended = next((each for each in containers.of_project(client, project) if each.service == service), None)
        if ended is None or not ended.exit_code:
            raise
        fault = Fault(container=ended, what=_failed(ended, ended.restarts, loading=False))
        raise failure_of(folder, fault, containers.last_lines(client, ended, READ_LINES)) from None


def _explained(failure: ProgramError) -> ProgramError:
    """The same failure with what Compose's words mean, where that is known."""
    meaning = diagnosis.explain(failure.message.splitlines())
    if meaning is None:
        return failure
    return ProgramError(f"{failure.message}\nthis means: {meaning.what}", hint=meaning.step)


def down(folder: StackFolder, *, report: Reporter, volumes: bool = False) -> None:
    """Stop a stack and remove its containers and networks; with `volumes` its API key too."""
    project = folder.read().project
    with closing(engine.connect()) as client:
        if not containers.of_project(client, project):
            report.say(f"{project}: no container is there")
    _compose(folder, report, "down", *(["--volumes"] if volumes else []))


def weights_of(client: docker.DockerClient, configuration: Configuration) -> tuple[WeightSetShown, ...]:
    """The weight sets that a stack uses; what is in an image is looked up in its container."""
    present = {each.service: each for each in containers.of_project(client, configuration.project)}
    shown = []
    for weights in weightsinuse.in_use(configuration):
        container = present.get(weights.service)
        if weights.directory is not None and engine.is_local():
            test, embedded = weightsinuse.is_test(weights), weightsinuse.is_embedded(weights)
        else:
            place = f"{weights.in_image}/{weights.name}"
            test, embedded = (
                container is not None and containers.holds(client, container, f"{place}/{marker}")
                for marker in (TEST_MARKER, EMBEDDED_MARKER)
            )
        shown.append(WeightSetShown(name=weights.name, test=test, embedded=embedded))
    return tuple(shown)


def fault_in(present: Sequence[Container], restarts_before: Mapping[str, int]) -> Fault | None:
    """The first container that failed since `restarts_before` (by container id) was counted, if any did.

    An API that is unhealthy while its VLM server still starts is only waiting.
    """
    loading = any(each.health == "starting" for each in present)
    for each in (each for each in present if not each.done):
        if what := _failed(each, restarts_before.get(each.id, 0), loading=loading):
            return Fault(container=each, what=what)
    return None


def _failed(each: Container, restarts_before: int, *, loading: bool) -> str:
    """How a container failed; empty when it did not."""
    if each.oom_killed and each.state != "running":
        return "was ended because it ran out of memory"
    if each.state in ("exited", "dead"):
        return f"ended with exit status {each.exit_code}" + (f": {each.error}" if each.error else "")
    if each.state == "restarting" or each.restarts > restarts_before:
        status = f" with exit status {each.exit_code}" if each.exit_code else ""
        return f"ended{status} and is started again and again"
    if each.state == "paused":
        return "is paused"
    if each.health == "unhealthy" and not loading:
        return "is unhealthy" + (f": {each.health_message}" if each.health_message else "")
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Before:
    """What of a stack was there before `up`."""

    existed: bool
    running: bool
    volumes: bool
    restarts: Mapping[str, int]

    @classmethod
    def of(cls, client: docker.DockerClient, project: str) -> _Before:
        present = containers.of_project(client, project)
        return cls(
            existed=bool(present),
            running=any(each.state in ("running", "restarting", "paused") for each in present),
            volumes=bool(client.volumes.list(filters={"label": f"{PROJECT}={project}"})),
            restarts={each.id: each.restarts for each in present},
        )

    def outcome(self) -> str:
        """What an interrupted `up` leaves, in words."""
        if self.running:
            return "the stack ran before and was left alone"
        return "its containers were stopped again" if self.existed else "what was started has been taken down again"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Starting:
    """A stack between `docker compose up` and its first page."""

    client: docker.DockerClient
    folder: StackFolder
    configuration: Configuration
    report: Reporter
    before: Mapping[str, int]

    def url(self) -> str | None:
        return containers.url_of(self._present())

    def wait(self, timeout: float) -> tuple[str | None, str]:
        """Return the URL and the model's name once a page came back. Raises UnhealthyError at the first failure."""
        began = time.monotonic()
        url = self.url()
        model = self._until_ready(url, began, began + timeout)
        if url is not None:
            self.report.say(f"{self.configuration.project}: ready; sending a first page")
            self._first_page(url, began, began + timeout)
        self.report.say(f"{self.configuration.project}: up after {time.monotonic() - began:.0f} s")
        return url, model

    def _until_ready(self, url: str | None, began: float, end: float) -> str:
        said = began
        while True:
            present = self._look()
            state = readiness.ask(url) if url is not None else _of_health(present)
            if state.ready:
                return state.model
            now = time.monotonic()
            if now >= end:
                blamed = next(
                    (each for each in present if not each.done and each.health != "healthy" and each.service != "api"),
                    None,
                )
                late = Fault(container=blamed or present[0], what=f"is not ready after {now - began:.0f} s")
                raise self._failure(late, also=state.reason)
            if now - said >= SAY_EVERY:
                self.report.say(f"waiting {now - began:.0f} s: {_gist(state.reason)} ({_healths(present)})")
                said = now
            time.sleep(POLL)

    def _first_page(self, url: str, began: float, end: float) -> None:
        """Send a page; while it is under way a container that fails ends the wait at once."""
        png = testpage.png()
        page = Document(name="first page", kind=Kind.PNG, size=len(png), pages=1, open=lambda: BytesIO(png))
        limit = max(end - time.monotonic(), 1.0)
        client = Client(url, timeout=limit, resends=0)
        with ThreadPoolExecutor(1, "first-page") as pool:
            sent = pool.submit(client.parse, page, ParseOptions(pictures=False))
            try:
                self._until_done(sent, began)
            except BaseException:
                client.abort()
                raise

    def _until_done(self, sent: Future[ParsedDocument], began: float) -> None:
        said = time.monotonic()
        while not _done(sent):
            self._look()
            now = time.monotonic()
            if now - said >= SAY_EVERY:
                self.report.say(f"waiting {now - began:.0f} s: the first page is on its way")
                said = now
        try:
            sent.result()
        except PaddockError as failure:
            present = self._look()
            blamed = next((each for each in present if each.published), present[0])
            raise self._failure(Fault(container=blamed, what=f"did not parse the first page: {failure.message}")) from (
                failure
            )

    def _present(self) -> tuple[Container, ...]:
        present = containers.of_project(self.client, self.configuration.project)
        if not present:
            raise UnhealthyError(f"{self.configuration.project}: its containers are gone; somebody else removed them")
        return present

    def _look(self) -> tuple[Container, ...]:
        """The containers now. Raises UnhealthyError when one of them has failed."""
        present = self._present()
        fault = fault_in(present, self.before)
        if fault is not None:
            raise self._failure(fault)
        return present

    def _failure(self, fault: Fault, *, also: str = "") -> UnhealthyError:
        lines = containers.last_lines(self.client, fault.container, READ_LINES)
        return failure_of(self.folder, fault, lines, also=also)


def failure_of(folder: StackFolder, fault: Fault, lines: Sequence[str], *, also: str = "") -> UnhealthyError:
    """The error for a container that failed: its last lines, what they mean, and how to look further."""
    each = fault.container
    meaning = diagnosis.explain([*lines, fault.what, also], exit_code=each.exit_code, oom_killed=each.oom_killed)
    parts = [f"{each.service} ({each.name}): {fault.what}" + (f"; {also}" if also else "")]
    parts += [f"  | {line}" for line in lines[-SHOWN_LINES:]] or ["  | (it printed nothing)"]
    if meaning is not None:
        parts.append(f"this means: {meaning.what}")
    look = f"the stack is left as it is; logs: {folder.command_line('logs', each.service)}, stop: " + (
        folder.command_line("down")
    )
    return UnhealthyError("\n".join(parts), hint=f"{meaning.step}. {look}" if meaning else look)


def _done(sent: Future[ParsedDocument]) -> bool:
    try:
        sent.exception(timeout=POLL)
    except TimeoutError:
        return sent.done()
    return True


def _of_health(present: Sequence[Container]) -> readiness.Readiness:
    """A stack without pipeline API is ready when all its health checks pass."""
    waiting = [each.service for each in present if each.health not in ("healthy", "")]
    return readiness.Readiness(ready=not waiting, model="", reason=f"{', '.join(waiting)}: not healthy yet")


def _gist(reason: str) -> str:
    """What is not so yet, without the sockets and addresses behind it."""
    return reason.partition(": ")[0]


def _healths(present: Sequence[Container]) -> str:
    return ", ".join(f"{each.service} {each.health or each.state}" for each in present if not each.done)


def _timeout(configuration: Configuration, timeout: float | None) -> float:
    if timeout is not None:
        return timeout
    return max((each.start_period for each in configuration.services), default=0.0) + AFTER_START_PERIOD


def _compose(folder: StackFolder, report: Reporter, *arguments: str) -> None:
    report.say(f"$ {folder.command_line(*arguments)}")
    process.stream(
        folder.argv(*arguments),
        on_line=_indented(report),
        cwd=folder.path,
        environment=folder.environment,
    )


def _indented(report: Reporter) -> Callable[[str], None]:
    return lambda line: report.say(f"  {line.strip()}") if line.strip() else None


def _undo(folder: StackFolder, configuration: Configuration, before: _Before, *, report: Reporter) -> None:
    """Bring a stack back to what it was before `up`, deaf to further Ctrl-C.

    Volumes stay where a service fetches something into one: the next start goes on where this one was stopped.
    """
    keep = before.volumes or any(each.once for each in configuration.services)
    if before.running:
        report.say(f"{folder.called}: it ran before; its containers are left as they are")
        return
    with process.deaf():
        try:
            if before.existed:
                _compose(folder, report, "stop")
            else:
                report.say(f"{folder.called}: taking down what was started")
                _compose(folder, report, "down", *([] if keep else ["--volumes"]))
        except (ProgramError, EngineError) as failure:
            report.warn(f"{folder.called}: could not be taken down: {failure.message}")
