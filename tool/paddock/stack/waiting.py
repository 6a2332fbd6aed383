"""Waiting until a stack has parsed its first page, and saying why a container will not get there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

from paddock.engine import docker
from paddock.errors import PaddockError, UnhealthyError
from paddock.parse import readiness
from paddock.parse.client import Client
from paddock.parse.document import Document, Kind
from paddock.parse.wire import ParsedDocument, ParseOptions
from paddock.report import Reporter
from paddock.stack import containers, diagnosis, testpage
from paddock.stack.configuration import Configuration
from paddock.stack.containers import Container
from paddock.stack.folder import StackFolder

POLL = 1.0  # seconds between two looks
SAY_EVERY = 5.0  # seconds between two lines about what is waited for

SHOWN_LINES = 20
READ_LINES = 60  # for what they mean: a server's own reason often stands above its last traceback


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a container will not become ready."""

    container: Container
    what: str


def fault_in(present: Sequence[Container], restarts_before: Mapping[str, int]) -> Fault | None:
    """The first container that failed since `restarts_before` (by container id) was counted, if any did.

    An API that is unhealthy while its VLM server still starts is only waiting.
    """
    loading = any(each.health == "starting" for each in present)
    for each in (each for each in present if not each.done):
        if what := failed(each, restarts_before.get(each.id, 0), loading=loading):
            return Fault(container=each, what=what)
    return None


def failed(each: Container, restarts_before: int, *, loading: bool) -> str:
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
class Starting:
    """A stack between `docker compose up` and its first page."""

    client: docker.DockerClient
    folder: StackFolder
    configuration: Configuration
    report: Reporter
    before: Mapping[str, int]

    def url(self) -> str | None:
        return containers.url_of(self._present())

    def wait(self, timeout: float) -> tuple[str | None, str]:
        """Return the URL and the model's name once a page came back. Raises UnhealthyError at the first
        failure.
        """
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
                    (
                        each
                        for each in present
                        if not each.done and each.health != "healthy" and each.service != "api"
                    ),
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
            raise self._failure(
                Fault(container=blamed, what=f"did not parse the first page: {failure.message}")
            ) from (failure)

    def _present(self) -> tuple[Container, ...]:
        present = containers.of_project(self.client, self.configuration.project)
        if not present:
            raise UnhealthyError(
                f"{self.configuration.project}: its containers are gone; somebody else removed them"
            )
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
    meaning = diagnosis.explain(
        [*lines, fault.what, also], exit_code=each.exit_code, oom_killed=each.oom_killed
    )
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
