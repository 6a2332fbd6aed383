"""Starting and stopping a stack. `up` is done when a page has gone through both containers, or cannot.

What is started is `docker compose up --detach` in the stack's folder, shown ready to paste; everything else
here watches. A stack that fails is left as it is for a look; one that is interrupted is taken down again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from paddock import engine, process
from paddock.engine import docker
from paddock.errors import EngineError, Interrupted, ProgramError
from paddock.report import Reporter
from paddock.stack import containers, entrance, preflight, waiting, weightsinuse
from paddock.stack.configuration import Configuration
from paddock.stack.containers import PROJECT
from paddock.stack.diagnosis import explained
from paddock.stack.folder import StackFolder
from paddock.stack.waiting import Fault, Watch, failed
from paddock.stack.weightsinuse import WeightsInUse
from paddock.weights.markers import EMBEDDED_MARKER, TEST_MARKER

AFTER_START_PERIOD = 120.0  # seconds that `up` waits longer than the longest start period


@dataclass(frozen=True, kw_only=True, slots=True)
class UsedWeightSet:
    """One weight set that a stack uses, and whether it is test weights or belongs to the embedded model."""

    name: str
    test: bool
    embedded: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A stack after `up`. `url` None for a stack without pipeline API; `ready` False when nobody waited.

    `certificate` says what the door of a site shows; empty without one.
    """

    project: str
    folder: str
    url: str | None
    ready: bool
    model: str
    weights: tuple[UsedWeightSet, ...]
    certificate: str = ""


def up(
    folder: StackFolder,
    *,
    report: Reporter,
    wait: bool = True,
    timeout: float | None = None,
    key: str = "",
) -> Started:
    """Start a stack and wait until it has parsed a page.

    `key` is for a pipeline API that wants one. `timeout` in seconds; None is the longest start period of its
    health checks and some more. Raises PreflightError before anything was created, UnhealthyError when a
    container fails or the time is over (the stack stays), ProgramError when Compose cannot start it,
    Interrupted after Ctrl-C (what was started here is taken down again).
    """
    with closing(engine.connect()) as client:
        return _up(folder, client=client, report=report, wait=wait, timeout=timeout, key=key)


def _up(
    folder: StackFolder,
    *,
    client: docker.DockerClient,
    report: Reporter,
    wait: bool,
    timeout: float | None,
    key: str,
) -> Started:
    configuration = folder.read()
    project = configuration.project
    site = any(service.name == entrance.DOOR for service in configuration.services)
    if site:
        engine.compose_argv(engine.SITE_COMPOSE)
    preflight.check(folder, configuration, client=client, report=report)
    before = _StateBefore.of(client, project)
    watch = Watch(
        client=client,
        folder=folder,
        project=project,
        restarts_before=before.restarts,
        began=containers.now(client),
    )
    try:
        for service in configuration.services:
            if service.once:
                _run_once(watch, service.name, report=report)
        # A door that an earlier start had is in the way of the port that this one publishes.
        leaving = [] if site or not before.door else ["--remove-orphans"]
        _compose(folder, report, "up", "--detach", *leaving)
        if wait:
            limit = time_limit(configuration, timeout)
            url, model = waiting.wait(watch, report=report, timeout=limit, key=key)
        else:
            url, model = entrance.url_of(client, watch.present()), ""
    except (KeyboardInterrupt, Interrupted):
        _undo(folder, configuration, before, report=report)
        raise Interrupted(f"{folder.name}: interrupted while it started", hint=before.outcome()) from None
    except ProgramError as failure:
        if not before.existed:
            _undo(folder, configuration, before, report=report)
        raise explained(failure) from None
    return Started(
        project=project,
        folder=str(folder.path),
        url=url,
        ready=wait,
        model=model,
        weights=_used_weight_sets(client, configuration),
        certificate=entrance.certificate_of(url, configuration),
    )


def time_limit(configuration: Configuration, chosen: float | None) -> float:
    """How many seconds `up` waits: what was chosen, else the longest start period and some more."""
    if chosen is not None:
        return chosen
    longest = max((service.start_period for service in configuration.services), default=0.0)
    return longest + AFTER_START_PERIOD


def _run_once(watch: Watch, service: str, *, report: Reporter) -> None:
    """Run a service that ends by itself and show what it prints, which `up --detach` would not."""
    try:
        _compose(watch.folder, report, "up", "--no-log-prefix", f"--exit-code-from={service}", service)
    except ProgramError:
        present = containers.of_project(watch.client, watch.project)
        ended = next((container for container in present if container.service == service), None)
        if ended is None or not ended.exit_code:
            raise
        fault = Fault(container=ended, what=failed(ended, ended.restarts, loading=False))
        raise watch.failure(fault) from None


def down(folder: StackFolder, *, report: Reporter, volumes: bool = False) -> None:
    """Stop a stack and remove its containers and networks; with `volumes` its API key too."""
    project = folder.read().project
    with closing(engine.connect()) as client:
        present = containers.of_project(client, project)
    if not present:
        report.say(f"{project}: there are no containers")
    folder = entrance.as_started(folder, present)
    _compose(folder, report, "down", *(["--volumes"] if volumes else []))


def _used_weight_sets(client: docker.DockerClient, configuration: Configuration) -> tuple[UsedWeightSet, ...]:
    """The weight sets that a stack uses; those inside an image are looked up in its container."""
    present = containers.of_project(client, configuration.project)
    by_service = {container.service: container for container in present}
    used = []
    for weights in weightsinuse.in_use(configuration):
        if weights.here is not None and engine.is_local():
            test, embedded = weightsinuse.is_test(weights), weightsinuse.is_embedded(weights)
        else:
            container = by_service.get(weights.service)
            test = _holds_marker(client, container, weights, TEST_MARKER)
            embedded = _holds_marker(client, container, weights, EMBEDDED_MARKER)
        used.append(UsedWeightSet(name=weights.name, test=test, embedded=embedded))
    return tuple(used)


def _holds_marker(
    client: docker.DockerClient, container: containers.Container | None, weights: WeightsInUse, marker: str
) -> bool:
    path = f"{weights.in_image}/{weights.name}/{marker}"
    return container is not None and containers.holds(client, container, path)


@dataclass(frozen=True, kw_only=True, slots=True)
class _StateBefore:
    """What there was of a stack before `up`."""

    existed: bool
    running: bool
    door: bool
    volumes: bool
    restarts: Mapping[str, int]  # by container id

    @classmethod
    def of(cls, client: docker.DockerClient, project: str) -> _StateBefore:
        present = containers.of_project(client, project)
        return cls(
            existed=bool(present),
            running=any(container.state in ("running", "restarting", "paused") for container in present),
            door=any(container.service == entrance.DOOR for container in present),
            volumes=bool(client.volumes.list(filters={"label": f"{PROJECT}={project}"})),
            restarts={container.id: container.restarts for container in present},
        )

    def outcome(self) -> str:
        """What an interrupted `up` leaves, in words."""
        if self.running:
            return "the stack ran before and was left alone"
        if self.existed:
            return "its containers were stopped again"
        return "what was started has been taken down again"


def _undo(
    folder: StackFolder, configuration: Configuration, before: _StateBefore, *, report: Reporter
) -> None:
    """Bring a stack back to what it was before `up`, whatever Ctrl-C says meanwhile.

    Volumes stay where a service fetches something into one: the next start continues from there.
    """
    if before.running:
        report.say(f"{folder.name}: it ran before; its containers are left as they are")
        return
    keep_volumes = before.volumes or any(service.once for service in configuration.services)
    with process.ignoring_interrupts():
        try:
            if before.existed:
                _compose(folder, report, "stop")
            else:
                report.say(f"{folder.name}: taking down what was started")
                _compose(folder, report, "down", *([] if keep_volumes else ["--volumes"]))
        except (ProgramError, EngineError) as failure:
            report.warn(f"{folder.name}: could not be taken down: {failure.message}")


def _compose(folder: StackFolder, report: Reporter, *arguments: str) -> None:
    """Run a Compose command; the command and what it prints are shown."""

    def show(line: str) -> None:
        if line.strip():
            report.say(f"  {line.strip()}")

    report.say(f"$ {folder.command_line(*arguments)}")
    process.stream(folder.argv(*arguments), on_line=show, cwd=folder.path, environment=folder.environment)
