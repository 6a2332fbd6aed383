"""A jobs service as it runs at a site, without containers: a private PostgreSQL, its programs, and a pipeline
API that only looks at the sizes of pages.

The programs are those of the image, started as processes, so that tests can end them as the kernel does.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pypdf
import requests

POSTGRES = "/usr/lib/postgresql"  # Debian's
PROGRAMS = Path(__file__).parents[2] / "templates/image"
NOBODY = 65534
MODEL = "PaddleOCR-VL-1.6"
JPEG = b"\xff\xd8\xff" + b"a picture"
JOBS = "/api/v2/ocr/jobs"
# Little memory, and a socket only. What keeps data on the disk stays on.
SETTINGS = (
    "listen_addresses=",
    "shared_buffers=16MB",
    "max_connections=60",
    "jit=off",
    "dynamic_shared_memory_type=mmap",
)


class Postgres:
    """A private cluster, whose superuser and only user is `jobs`."""

    def __init__(self) -> None:
        self._programs = max(Path(POSTGRES).glob("*/bin"), key=lambda folder: int(folder.parent.name))
        self._folder = Path(tempfile.mkdtemp(prefix="jobs-db-"))
        self._folder.chmod(0o700)
        self._user = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        if self._user:
            os.chown(self._folder, NOBODY, NOBODY)
        options = ("--username=jobs", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self._run("initdb", f"--pgdata={self._folder}/data", *options)
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            **self._user,  # type: ignore[call-overload]
        )

    def start(self) -> None:
        """Start it, also after a kill, and wait until it takes connections."""
        end = time.monotonic() + 60
        while True:
            if (
                self._server is None or self._server.poll() is not None
            ):  # one that was killed may still have memory
                self._server = self._begun()
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def _begun(self) -> subprocess.Popen[bytes]:
        (self._folder / "data/postmaster.pid").unlink(missing_ok=True)
        options = [f"-c{setting}" for setting in (*SETTINGS, f"unix_socket_directories={self._folder}")]
        begun: subprocess.Popen[bytes] = subprocess.Popen(
            [self._programs / "postgres", "-D", f"{self._folder}/data", *options],
            cwd=self._folder,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **self._user,  # type: ignore[call-overload]
        )
        return begun

    def kill(self) -> None:
        """End the server and its children as the kernel does."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)  # it starts no more of them
        for process in [*children(self._server.pid), self._server.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._server.wait()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def address(self, name: str) -> str:
        """Of a database, in libpq's form."""
        return f"host={self._folder} user=jobs dbname={name}"

    def connect(self, name: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self.address(name), autocommit=True)

    def new_database(self) -> str:
        """The address of a new, empty database."""
        name = f"jobs_{secrets.token_hex(6)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.address(name)


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text("ascii")
    return [int(number) for number in text.split()]


# --- a pipeline API -----------------------------------------------------------------------------------------


class PagesApi:
    """Answers for each page with its number, which its width tells; remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[int, int]] = Counter()  # by document and page
        self.at_once: Counter[tuple[int, int]] = Counter()
        self.twice_at_once: list[tuple[int, int]] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []  # path, and body without the document
        self.before: Callable[[Asked], bool] = lambda _asked: True  # False: it has answered by itself
        self._lock = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                """Keep the test output quiet."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.answer(self, body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that are killed are part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """Answer as PaddleX does."""
        data = base64.b64decode(body.pop("file", ""))
        with self._lock:
            self.requests.append((handler.path, body))
        if handler.path == "/restructure-pages":
            joined = [
                {
                    "prunedResult": page["prunedResult"],
                    "markdown": {"text": f"joined {page['prunedResult']['number']}"},
                }
                for page in body["pages"]
            ]
            return say(handler, 200, {"result": {"layoutParsingResults": joined}, "errorCode": 0})
        document, numbers = looked_at(data)
        asked = Asked(handler, document, numbers, body)
        pages = [(document, number) for number in numbers]
        with self._lock:
            self.calls.update(pages)
            self.twice_at_once += [page for page in pages if self.at_once[page]]
            self.at_once.update(pages)
        try:
            if self.before(asked):
                say(handler, 200, {"result": self.result(numbers), "errorCode": 0})
        finally:
            with self._lock:
                self.at_once.subtract(pages)
        return None

    def result(self, numbers: list[int]) -> dict[str, Any]:
        picture = base64.b64encode(JPEG).decode()
        pages = [
            {
                "prunedResult": {"number": number},
                "markdown": {"text": f"page {number}", "images": {"imgs/a.jpg": picture}},
                "outputImages": {"layout_det_res": picture},
            }
            for number in numbers
        ]
        sizes = [{"width": 100 + number, "height": 100} for number in numbers]
        return {
            "layoutParsingResults": pages,
            "dataInfo": {"numPages": len(pages), "pages": sizes, "type": "pdf"},
        }


class Asked:
    """One request for pages."""

    def __init__(
        self, handler: BaseHTTPRequestHandler, document: int, pages: list[int], options: dict[str, Any]
    ) -> None:
        self.document = document
        self.pages = pages
        self.options = options
        self._handler = handler

    def refuse(self, status: int, reason: str, **headers: str) -> bool:
        say(self._handler, status, {"errorCode": status, "errorMsg": reason}, **headers)
        return False

    def gone(self, within: float) -> bool:
        """Whether the client closes the connection within so many seconds."""
        self._handler.connection.settimeout(within)
        try:
            received: bytes = self._handler.connection.recv(1)
        except TimeoutError:
            return False
        return not received

    def reset(self) -> bool:
        """End as a process that is killed."""
        self._handler.close_connection = True
        self._handler.connection.shutdown(socket.SHUT_RDWR)
        return False


def say(handler: BaseHTTPRequestHandler, status: int, body: object, **headers: str) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(data)


def pdf(document: int, pages: int) -> bytes:
    """A PDF whose page N is 100 + N points wide; every page is 100 + `document` points high."""
    writer = pypdf.PdfWriter()
    for page in range(1, pages + 1):
        writer.add_blank_page(width=100 + page, height=100 + document)
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def looked_at(data: bytes) -> tuple[int, list[int]]:
    """Number of a document that `pdf` made, and the numbers of its pages."""
    pages = pypdf.PdfReader(io.BytesIO(data)).pages
    return round(pages[0].mediabox.height) - 100, [round(page.mediabox.width) - 100 for page in pages]


# --- the service --------------------------------------------------------------------------------------------


class JobService:
    """The programs of the image `jobs`, at a port of their own."""

    def __init__(self, folder: Path, database: str, api_url: str, **settings: str) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(str(PROGRAMS / name) for name in ("jobs", "api")),
            "PADDOCK_JOBS_DIR": str(folder),
            "JOBS_DATABASE": database,
            "JOBS_API_URL": api_url,
            "JOBS_PORT": str(self.port),
            "JOBS_MODELS": MODEL,
            **settings,
        }
        self.key = ""  # that is given with requests
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *roles: str) -> JobService:
        """Start programs: `api`, `solo`, any name that begins with `worker`; "" is all of them."""
        for role in roles:
            command = [sys.executable, str(PROGRAMS / "jobs/jobs.py"), *role.rstrip("0123456789").split()]
            log = (self.folder.parent / f"{role or 'all'}.log").open("ab")
            self.programs[role] = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
            log.close()
        if {"api", ""} & set(roles):
            self.wait_for(lambda: self.status() == 200)
        return self

    def kill(self, role: str) -> None:
        """End a program as the kernel does."""
        self.programs[role].kill()
        self.programs.pop(role).wait()

    def stop(self) -> None:
        for program in self.programs.values():
            program.terminate()
        for program in self.programs.values():
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        self.programs.clear()

    def status(self, path: str = "/health/ready") -> int:
        """HTTP status of a GET; 0 while nothing answers."""
        try:
            return requests.get(self.url + path, timeout=10).status_code
        except requests.RequestException:
            return 0

    def ask(self, method: str, path: str, *, key: str | None = None, **more: Any) -> requests.Response:
        """Any request; with this service's key unless another one is given."""
        chosen = self.key if key is None else key
        headers = {**({"Authorization": f"Bearer {chosen}"} if chosen else {}), **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **more)

    def get(self, path: str) -> requests.Response:
        return self.ask("GET", path)

    def submit(
        self, document: bytes, *, key: str | None = None, repeat: str = "", **fields: str
    ) -> requests.Response:
        """POST a document; `repeat` is the Idempotency-Key."""
        headers = {"Idempotency-Key": repeat} if repeat else {}
        data = {"model": MODEL, **fields}
        files = {"file": ("a.pdf", document)}
        return self.ask("POST", JOBS, key=key, headers=headers, files=files, data=data)

    def accepted(self, document: bytes, **fields: str) -> str:
        """The id of a job that was accepted."""
        answer = self.submit(document, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["jobId"])

    def state(self, job: str) -> dict[str, Any]:
        answer = self.get(f"{JOBS}/{job}")
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def ended(self, job: str, within: float = 60) -> dict[str, Any]:
        """The state of a job once it is done or has failed."""
        self.wait_for(lambda: self.state(job)["state"] in ("done", "failed"), within)
        return self.state(job)

    def pages(self, job: str) -> list[dict[str, Any]]:
        """The pages of the result of a job that is done."""
        answer = requests.get(self.state(job)["resultUrl"]["jsonUrl"], timeout=60)
        assert answer.status_code == 200, answer.text
        return [
            page
            for line in answer.text.splitlines()
            for page in json.loads(line)["result"]["layoutParsingResults"]
        ]

    def texts(self, job: str) -> list[str]:
        """The Markdown of its pages."""
        return [page["markdown"]["text"] for page in self.pages(job)]

    def wait_for(self, condition: Callable[[], bool], within: float = 60) -> None:
        end = time.monotonic() + within
        while not condition():
            assert time.monotonic() < end, "it did not come to pass: " + self.logs()
            time.sleep(0.05)

    def logs(self) -> str:
        return "\n".join(
            path.read_text("utf-8", "replace")[-3000:] for path in self.folder.parent.glob("*.log")
        )


@contextlib.contextmanager
def running(
    folder: Path, postgres: Postgres, *roles: str, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[JobService, PagesApi]]:
    """A service with these programs, a database and a pipeline API of its own."""
    folder.mkdir(parents=True)
    api = PagesApi()
    (folder / "data").mkdir()
    service = JobService(folder / "data", postgres.new_database(), api.url, **(settings or {}))
    try:
        yield service.start(*roles), api
    finally:
        service.stop()
        api.stop()
