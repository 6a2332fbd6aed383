"""Waiting until a stack has parsed its first page, and saying why a container will not get there."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

from paddock.engine import docker
from paddock.errors import PaddockError, UnhealthyError, UnknownClientError
from paddock.parse import readiness
from paddock.parse.document import Document, Kind
from paddock.parse.wire import ParsedDocument, ParseOptions
from paddock.report import Reporter
from paddock.stack import containers, diagnosis, entrance, testpage
from paddock.stack.containers import Container
from paddock.stack.diagnosis import Meaning
from paddock.stack.folder import StackFolder

if TYPE_CHECKING:
    from concurrent.futures import Future

POLL = 1.0  # seconds between two looks
SAY_EVERY = 5.0  # seconds between two lines about what is waited for

SHOWN_LINES = 20
READ_LINES = 60  # for what they mean: a server's own reason often stands above its last traceback


# --- containers that failed ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a container will not become ready."""

    container: Container
    what: str


def fault_in(present: Sequence[Container], restarts_before: Mapping[str, int]) -> Fault | None:
    """The first container that failed since `restarts_before` (by container id) was counted, if any did.

    A pipeline API that is unhealthy while its VLM server still starts is only waiting.
    """
    loading = any(container.health == "starting" for container in present)
    for container in present:
        what = failed(container, restarts_before.get(container.id, 0), loading=loading)
        if what and not container.done:
            return Fault(container=container, what=what)
    return None


def failed(container: Container, restarts_before: int, *, loading: bool) -> str:
    """How a container failed; empty where it did not."""
    again = container.restarts > restarts_before
    if container.oom_killed and (again or container.state != "running"):
        return "was ended because it ran out of memory" + (
            ", and is started again and again" if again else ""
        )
    if container.state in ("exited", "dead"):
        reason = f": {container.error}" if container.error else ""
        return f"ended with exit status {container.exit_code}{reason}"
    if container.state == "restarting" or again:
        status = f" with exit status {container.exit_code}" if container.exit_code else ""
        return f"ended{status} and is started again and again"
    if container.state == "paused":
        return "is paused"
    if container.health == "unhealthy" and not loading:
        return "is unhealthy" + (f": {container.health_message}" if container.health_message else "")
    return ""


def failure_of(folder: StackFolder, fault: Fault, lines: Sequence[str], *, also: str = "") -> UnhealthyError:
    """The error for a container that failed: its last lines, what they mean, and how to look further."""
    container = fault.container
    meaning = diagnosis.explain(
        [*lines, fault.what, also], exit_code=container.exit_code, oom_killed=container.oom_killed
    )
    parts = [f"{container.service} ({container.name}): {fault.what}" + (f"; {also}" if also else "")]
    parts += [f"  | {line}" for line in lines[-SHOWN_LINES:]] or ["  | (it printed nothing)"]
    if meaning is not None:
        meaning = _of_this_container(folder, container, meaning)
        parts.append(f"this means: {meaning.what}")
    logs, down = folder.command_line("logs", container.service), folder.command_line("down")
    look = f"the stack is left as it is: `{logs}` shows its logs, `{down}` stops it"
    return UnhealthyError(
        "\n".join(parts),
        hint=f"{_capitalised(_of_this_stack(folder, meaning))}. {_capitalised(look)}." if meaning else look,
    )


def _of_this_stack(folder: StackFolder, meaning: Meaning) -> str:
    """The next step, its commands about the stack in place of `TARGET`."""
    return re.sub(
        "`paddock ([a-z ]+) TARGET([^`]*)`",
        lambda found: f"`{folder.paddock(found[1], *found[2].split())}`",
        meaning.step,
    )


def _of_this_container(folder: StackFolder, container: Container, meaning: Meaning) -> Meaning:
    """The meaning with the container's own limit, and the commands that raise it, where memory is short."""
    if not (meaning.memory and container.memory_limit):
        return meaning
    more = diagnosis.more_memory(container.service, container.memory_limit)
    limit = diagnosis.memory(container.memory_limit)
    return Meaning(
        what=f"{meaning.what}; {container.service} may use {limit} of memory ({more.partition('=')[0]})",
        step=f"give it more: `{folder.paddock('config set', more)}`, then `{folder.paddock('up')}`; or give "
        "the model less in its configuration",
    )


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- waiting ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """The containers of one stack, and how often each had been restarted before the stack was started."""

    client: docker.DockerClient
    folder: StackFolder
    project: str
    restarts_before: Mapping[str, int]  # by container id
    began: str = "0"  # when the stack was started, by the engine's clock

    def present(self) -> tuple[Container, ...]:
        """The containers now. Raises UnhealthyError where there are none."""
        present = containers.of_project(self.client, self.project)
        if not present:
            raise UnhealthyError(
                f"{self.project}: its containers are gone, expected those that were started",
                hint="see who else stops stacks on this engine, then start this one again",
            )
        return present

    def healthy(self) -> tuple[Container, ...]:
        """The containers now. Raises UnhealthyError where one of them has failed."""
        present = self.present()
        fault = fault_in(present, self.restarts_before)
        if fault is not None:
            raise self.failure(fault)
        return present

    def failure(self, fault: Fault, *, also: str = "") -> UnhealthyError:
        """The error for a container that failed, with the last lines that it printed."""
        if fault.container.id in containers.ran_out_of_memory(self.client, self.project, self.began):
            container = replace(fault.container, oom_killed=True)
            before = self.restarts_before.get(container.id, 0)
            fault = Fault(container=container, what=failed(container, before, loading=False) or fault.what)
        lines = containers.last_lines(self.client, fault.container, READ_LINES)
        return failure_of(self.folder, fault, lines, also=also)


class Patience:
    """How long has been waited and how long may be; says at times what is waited for."""

    def __init__(self, report: Reporter, timeout: float) -> None:
        self._report = report
        self._began = self._said = time.monotonic()
        self._timeout = timeout

    @property
    def waited(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the wait is over; not above 0 when it is."""
        return self._timeout - self.waited

    def say(self, what: str) -> None:
        """Say what is waited for, unless that was said within the last SAY_EVERY seconds."""
        now = time.monotonic()
        if now - self._said >= SAY_EVERY:
            self._report.say(f"waiting {now - self._began:.0f} s: {what}")
            self._said = now


def wait(watch: Watch, *, report: Reporter, timeout: float, key: str = "") -> tuple[str | None, str]:
    """Wait until a page came back; returns the URL and the model's name.

    `key` is for an API that wants one; without it such an API counts as up when it is ready. The URL is None
    for a stack without pipeline API, which is ready when its health checks pass. Raises UnhealthyError at the
    first failure, or when `timeout` seconds are over.
    """
    patience = Patience(report, timeout)
    url, model = _until_ready(watch, patience)
    if url is not None:
        report.say(f"{watch.project}: ready; sending a first page")
        try:
            _send_first_page(watch, url, patience, key)
        except UnknownClientError as refused:
            if key:
                raise
            report.warn(f"no page was sent: {refused.message}; --key-file FILE names one")
    report.say(f"{watch.project}: up after {patience.waited:.0f} s")
    return url, model


def _until_ready(watch: Watch, patience: Patience) -> tuple[str | None, str]:
    """Wait until the stack says that it is ready; returns its URL and the model's name."""
    while True:
        present = watch.healthy()
        url = entrance.url_of(watch.client, present)
        state = readiness.ask(url) if url is not None else _readiness_by_health(present)
        if state.ready:
            return url, state.model
        if patience.left <= 0:
            late = Fault(container=_late(present), what=f"is not ready after {patience.waited:.0f} s")
            raise watch.failure(late, also=state.reason)
        summary = state.reason.partition(": ")[0]  # without the sockets and addresses behind it
        patience.say(f"{summary} ({_health_of_each(present)})")
        time.sleep(POLL)


def _send_first_page(watch: Watch, url: str, patience: Patience, key: str) -> None:
    """Send a page; while it is under way, a container that fails ends the wait at once."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - heavy, like the client of the API

    from paddock.parse.client import Client  # noqa: PLC0415

    png = testpage.png()
    page = Document(name="first page", kind=Kind.PNG, size=len(png), pages=1, open=lambda: BytesIO(png))
    client = Client(url, key=key, timeout=max(patience.left, 1.0), resends=0)
    with ThreadPoolExecutor(1, "first-page") as pool:
        parsing = pool.submit(client.parse, page, ParseOptions(pictures=False))
        try:
            while not _is_done(parsing):
                watch.healthy()
                patience.say("the first page is on its way")
            _require_parsed(watch, parsing)
        except BaseException:
            client.abort()
            raise


def _require_parsed(watch: Watch, parsing: Future[ParsedDocument]) -> None:
    try:
        parsing.result()
    except UnknownClientError:
        raise
    except PaddockError as failure:
        present = watch.healthy()
        blamed = next((container for container in present if container.published), present[0])
        fault = Fault(container=blamed, what=f"did not parse the first page: {failure.message}")
        raise watch.failure(fault) from failure


def _is_done(parsing: Future[ParsedDocument]) -> bool:
    """Whether a page is done, after at most POLL seconds."""
    try:
        parsing.exception(timeout=POLL)
    except TimeoutError:
        return parsing.done()
    return True


def _readiness_by_health(present: Sequence[Container]) -> readiness.Readiness:
    """A stack without pipeline API is ready when all its health checks pass."""
    waiting = [container.service for container in present if container.health not in ("healthy", "")]
    return readiness.Readiness(ready=not waiting, model="", reason=f"{', '.join(waiting)}: not healthy yet")


def _late(present: Sequence[Container]) -> Container:
    """The container that keeps a stack from being ready: the VLM server before the API that waits for it."""
    for container in present:
        if not container.done and container.health != "healthy" and container.service != "api":
            return container
    return present[0]


def _health_of_each(present: Sequence[Container]) -> str:
    return ", ".join(
        f"{container.service} {container.health or container.state}"
        for container in present
        if not container.done
    )
