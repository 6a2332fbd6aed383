"""Starting and stopping a stack. `up` is done when a page has gone through both containers, or when it
cannot.

What is started is `docker compose up --detach` in the stack's folder, shown as one could type it; everything
else here watches. A stack that fails is left as it is for a look; one that is interrupted is taken down
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from paddock import engine, process
from paddock.engine import docker
from paddock.errors import EngineError, Interrupted, ProgramError
from paddock.report import Reporter
from paddock.stack import containers, diagnosis, preflight, weightsinuse
from paddock.stack.configuration import Configuration
from paddock.stack.containers import PROJECT
from paddock.stack.folder import StackFolder
from paddock.stack.waiting import READ_LINES, Fault, Starting, failed, failure_of
from paddock.weights.markers import EMBEDDED_MARKER, TEST_MARKER

AFTER_START_PERIOD = 120.0  # seconds that `up` waits longer than the longest start period


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


def up(folder: StackFolder, *, report: Reporter, wait: bool = True, timeout: float | None = None) -> Started:
    """Start a stack and wait until it has parsed a page.

    `timeout` in seconds; None is the longest start period of its health checks and some more. Raises
    PreflightError before anything was created, UnhealthyError when a container fails or the time is over (the
    stack stays), ProgramError when Compose cannot start it, Interrupted after Ctrl-C (what was started here
    is taken down again).
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
        starting = Starting(
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
        ended = next(
            (each for each in containers.of_project(client, project) if each.service == service), None
        )
        if ended is None or not ended.exit_code:
            raise
        fault = Fault(container=ended, what=failed(ended, ended.restarts, loading=False))
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
        return (
            "its containers were stopped again"
            if self.existed
            else "what was started has been taken down again"
        )


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

    Volumes stay where a service fetches something into one: the next start goes on where this one was
    stopped.
    """
    keep = before.volumes or any(each.once for each in configuration.services)
    if before.running:
        report.say(f"{folder.called}: it ran before; its containers are left as they are")
        return
    with process.ignoring_interrupts():
        try:
            if before.existed:
                _compose(folder, report, "stop")
            else:
                report.say(f"{folder.called}: taking down what was started")
                _compose(folder, report, "down", *([] if keep else ["--volumes"]))
        except (ProgramError, EngineError) as failure:
            report.warn(f"{folder.called}: could not be taken down: {failure.message}")
