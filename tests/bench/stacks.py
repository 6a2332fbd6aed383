"""Running stacks: ours as rendered, upstream's as its compose file has it, and the client that asks both."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from paddock import process
from paddock.errors import ProgramError

START_LIMIT = 900.0  # seconds
REQUEST_LIMIT = 600.0  # seconds
PAUSE = 0.2  # seconds between two looks at a stack that starts


class BenchError(Exception):
    """A stack that could not be measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A stack as Compose starts it. `ready` is the path that answers 200 when a parse is worth trying."""

    project: str
    file: Path
    port: int
    ready: str
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str) -> str:
        argv = ["docker", "compose", "--project-name", self.project, "--file", str(self.file), *arguments]
        environment = {**self.environment, "API_PORT": str(self.port)}
        return process.capture(argv, environment=environment, timeout=START_LIMIT).stdout

    def start(self) -> None:
        """`docker compose up --detach`; returns when that does. A BenchError has the stack's last lines."""
        try:
            self.compose("up", "--detach", "--no-build")
        except ProgramError as failure:
            raise BenchError(f"{failure.message}\n{self.last_lines()}") from failure

    def stop(self) -> None:
        self.compose("down", "--volumes", "--timeout", "5")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Frozen, so that it takes no processor time while another stack is measured."""
        self.compose("pause")
        try:
            yield
        finally:
            self.compose("unpause")

    def last_lines(self) -> str:
        return self.compose("logs", "--no-color", "--tail", "15")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What came back for one page."""

    blocks: int
    characters: int


@contextmanager
def running_side_by_side(first: Service, second: Service) -> Iterator[None]:
    """Both stacks, started one after the other and answering; both gone at the end."""
    try:
        first.start()
        wait_until_ready(first)
        with first.paused():
            second.start()
            wait_until_ready(second)
        yield
    finally:
        first.stop()
        second.stop()


def request_of(image: bytes) -> bytes:
    """The body of a request for one image, ready to send."""
    return json.dumps({"file": base64.b64encode(image).decode("ascii"), "fileType": 1}).encode("ascii")


def wait_until_ready(service: Service) -> None:
    """Return when the stack says that it can parse. Raises BenchError after START_LIMIT seconds."""
    _wait(service, lambda: _is_ready(service))


def wait_until_parsed(service: Service, body: bytes) -> None:
    """Return when the stack has parsed a page. Raises BenchError after START_LIMIT seconds."""
    _wait(service, lambda: _is_ready(service) and _parses(service, body))


def parse(service: Service, body: bytes) -> Parsed:
    """Send one page. Raises BenchError unless a good answer with text comes back."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy lies between neighbours
        answer = session.post(
            f"{service.url}/layout-parsing",
            data=body,
            headers={"Content-Type": "application/json", "Connection": "close"},
            timeout=REQUEST_LIMIT,
        )
    if answer.status_code != 200:
        raise BenchError(
            f"{service.project}: {answer.status_code}: {answer.text[:400]}\n{service.last_lines()}"
        )
    pages = answer.json()["result"]["layoutParsingResults"]
    if len(pages) != 1 or not pages[0]["markdown"]["text"].strip():
        raise BenchError(f"{service.project}: found {len(pages)} pages, expected one page with text")
    return Parsed(
        blocks=len(pages[0]["prunedResult"]["parsing_res_list"]), characters=len(pages[0]["markdown"]["text"])
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One run over all pages."""

    seconds: float
    parsed: tuple[Parsed, ...]

    @property
    def blocks(self) -> int:
        return sum(page.blocks for page in self.parsed)


def parse_all(service: Service, bodies: Sequence[bytes], *, concurrency: int) -> Batch:
    """Send all pages, `concurrency` at a time. Raises BenchError when one fails."""
    with ThreadPoolExecutor(concurrency) as clients:
        begin = time.monotonic()
        parsed = tuple(clients.map(lambda body: parse(service, body), bodies))
        return Batch(seconds=time.monotonic() - begin, parsed=parsed)


def seconds_to_first_page(service: Service, body: bytes) -> float:
    """From `docker compose up` to the first parsed page; the stack is removed afterwards."""
    try:
        begin = time.monotonic()
        service.start()
        wait_until_parsed(service, body)
        return time.monotonic() - begin
    finally:
        service.stop()


def _wait(service: Service, reached: Callable[[], bool]) -> None:
    end = time.monotonic() + START_LIMIT
    while not reached():
        if time.monotonic() > end:
            raise BenchError(f"{service.project}: no page after {START_LIMIT:.0f} s\n{service.last_lines()}")
        time.sleep(PAUSE)


def _is_ready(service: Service) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(service.url + service.ready, timeout=10).status_code == 200
    except requests.RequestException:
        return False


def _parses(service: Service, body: bytes) -> bool:
    try:
        parse(service, body)
    except (BenchError, requests.RequestException):
        return False
    return True
