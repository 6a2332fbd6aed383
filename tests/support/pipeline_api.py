"""A pipeline API for tests: a real HTTP server on 127.0.0.1 that speaks PaddleX's serving protocol.

It checks requests and reads documents as PaddleX does (`inference/serving/infra/utils.py`), answers one page
of constant text per page of the document, and can be told to fail in the ways that the real one fails.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from typing import Any

import pypdf
import pytest
from PIL import Image

from paddock.errors import PaddockError
from paddock.parse.batch import Summary
from paddock.parse.client import Client
from paddock.parse.document import inspect
from paddock.parse.wire import ParsedDocument, ParseOptions

Work = Callable[..., Summary]  # the fixture `work`: parse these paths
Command = Callable[..., int]  # the fixture `command`: run `paddock parse` with these arguments

IMAGE_NAME = "imgs/img_in_image_box_1_2_3_4.jpg"


def jpeg(shade: int = 0) -> bytes:
    """A small JPEG; different shades give different bytes."""
    file = io.BytesIO()
    Image.new("L", (8, 8), shade).save(file, "JPEG")
    return file.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        """Keep the test output quiet."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self.server.api.health_calls += 1
            self.say(200, {"logId": "1", "errorCode": 0, "errorMsg": "Healthy"})
        elif self.path == "/health/ready" and self.server.api.readiness is not None:
            self.say(200 if self.server.api.readiness["ready"] else 503, self.server.api.readiness)
        else:
            self.say(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        assert self.headers.get("Transfer-Encoding") is None
        self.server.api.headers.append(dict(self.headers))
        if refusal := self.server.api.refusal:  # as paddock's API: without reading what is sent
            self.close_connection = True
            return self.write(*refusal)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        return self.server.api.receive(self, json.loads(body))

    def fail(self, status: int, message: str) -> None:
        self.say(status, {"logId": "1", "errorCode": status, "errorMsg": message})

    def say(self, status: int, answer: object) -> None:
        self.write(status, json.dumps(answer).encode())

    def write(self, status: int, data: bytes, *, promised: int | None = None, **headers: str) -> None:
        """Underscores in the names of headers stand for hyphens."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if promised is None else promised))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def pour(self, pieces: Iterable[bytes], *, status: int = 200, **headers: str) -> None:
        """Answer in HTTP chunks, for as long as the client takes them."""
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """End the connection the way a killed process does: RST, not FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.rfile.close()
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    api: PipelineApi

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


Answer = Callable[[Handler, dict[str, object]], None]


class PipelineApi:
    """The server; `next` holds how the coming requests are answered, `answer` takes over when it is empty."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []  # of each request for a document
        self.refusal: tuple[int, bytes] | None = None  # status and body for every document, unread
        self.health_calls = 0
        self.readiness: dict[str, object] | None = None  # None: an API that is not paddock's
        self.page_limit: int | None = None
        self.next: deque[Answer] = deque()
        self.answer: Answer = self.parse
        self.received = threading.Semaphore(0)  # one more for each request that came
        self.held = threading.Event()  # set: requests answered by `hold` go on
        self.together = 0
        self.most_together = 0
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.api = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def behind_tls(self, certificate: Path) -> str:
        """From now on with this certificate, which has its key in the same file; the URL."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        return self.url.replace("http:", "https:")

    def stop(self) -> None:
        self.held.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def receive(self, handler: Handler, request: dict[str, object]) -> None:
        with self._lock:
            self.requests.append(request)
            self.together += 1
            self.most_together = max(self.most_together, self.together)
            answer = self.next.popleft() if self.next else self.answer
        self.received.release()
        try:
            answer(handler, request)
        finally:
            with self._lock:
                self.together -= 1

    def parse(self, handler: Handler, request: dict[str, object]) -> None:
        """Answer as PaddleX does."""
        if "fileType" not in request:
            return handler.fail(422, "File type cannot be determined")
        try:
            data = base64.b64decode(str(request["file"]), validate=True)
            pages, info = self.pages_of(data, request["fileType"] == 0)
        except Exception:
            return handler.fail(422, "Invalid input file")
        entries = [self.page(number, pictures=request["visualize"] is True) for number in range(1, pages + 1)]
        result = {"layoutParsingResults": entries, "dataInfo": info}
        return handler.say(200, {"logId": "1", "result": result, "errorCode": 0, "errorMsg": "Success"})

    def pages_of(self, data: bytes, is_pdf: bool) -> tuple[int, dict[str, object]]:
        if is_pdf:
            return self.many("pdf", len(pypdf.PdfReader(io.BytesIO(data)).pages))
        with Image.open(io.BytesIO(data)) as image:
            frames = int(getattr(image, "n_frames", 1))
            if frames > 1:
                return self.many("tiff", frames)
            return 1, {"type": "image", "width": image.width, "height": image.height}

    def many(self, kind: str, pages: int) -> tuple[int, dict[str, object]]:
        pages = min(pages, self.page_limit or pages)
        return pages, {"type": kind, "numPages": pages, "pages": [{"width": 8, "height": 8}] * pages}

    def page(self, number: int, *, pictures: bool) -> dict[str, Any]:
        image = f'<div style="text-align: center;"><img src="{IMAGE_NAME}" alt="Image" /></div>'
        text = f"# Page {number}\n\n{image}\n"
        entry: dict[str, Any] = {
            "prunedResult": {"width": 8, "height": 8, "parsing_res_list": [{"block_id": 0}]},
            "markdown": {"text": text, "images": {IMAGE_NAME: encoded(jpeg(number))}},
        }
        if pictures:
            entry["outputImages"] = {"layout_det_res": encoded(jpeg(100 + number))}
            entry["inputImage"] = encoded(jpeg(200))
        return entry

    def hold(self, handler: Handler, request: dict[str, object]) -> None:
        """Answer once `held` is set, however slow the machine: a test that ends sets it."""
        self.held.wait()
        self.parse(handler, request)


def fails(status: int, message: str) -> Answer:
    """An answer in PaddleX's error form."""
    return lambda handler, _request: handler.fail(status, message)


def says(status: int, answer: object) -> Answer:
    """An answer of any JSON, or of any bytes."""
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return lambda handler, _request: handler.write(status, data)


def resets(handler: Handler, _request: dict[str, object]) -> None:
    """The API is killed before it answers."""
    handler.reset()


def resets_midway(handler: Handler, _request: dict[str, object]) -> None:
    """The API is killed while it answers."""
    handler.write(200, b'{"logId": "1", "result": {"layoutParsing', promised=5000)
    handler.reset()


def ends_short(handler: Handler, _request: dict[str, object]) -> None:
    """The answer is shorter than promised, and the connection ends in an orderly way."""
    handler.write(200, b'{"logId": "1", ', promised=5000)
    handler.close_connection = True


# --- answers of a server that means harm --------------------------------------------------------------------

_PAGE = (
    b'{"errorCode": 0, "result": {"dataInfo": {}, "layoutParsingResults": [{"prunedResult": {}, "markdown": '
)


def pours(beginning: bytes, again: bytes, *, times: int | None = None) -> Answer:
    """An answer that begins so and goes on with `again`, in pieces of about a megabyte; None: without end."""
    piece = again * ((1 << 20) // len(again) + 1)

    def pieces() -> Iterator[bytes]:
        yield beginning
        yield from repeat(piece) if times is None else repeat(piece, times)

    return lambda handler, _request: handler.pour(pieces())


def drips(handler: Handler, _request: dict[str, object]) -> None:
    """One byte now and then, for longer than any test."""
    for header in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 100000\r\n\r\n"):
        handler.wfile.write(header)
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def drips_headers(handler: Handler, _request: dict[str, object]) -> None:
    """The same before the answer has begun."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


def is_a_bomb(handler: Handler, _request: dict[str, object]) -> None:
    """64 megabytes of an answer in 64 kilobytes of gzip."""
    handler.write(200, gzip.compress(_PAGE + b" " * (64 << 20)), Content_Encoding="gzip")


def leads_to_itself(handler: Handler, _request: dict[str, object]) -> None:
    """A redirect whose body never ends."""
    handler.pour(repeat(b"x" * (1 << 20)), status=302, Location="/layout-parsing")


HOSTILE: dict[str, Answer] = {
    "endless": pours(_PAGE, b" "),
    "endless text": pours(_PAGE + b'{"text": "', b"x"),
    "endless text of many bytes a character": pours(_PAGE + b'{"text": "\xf0\x9f\x98\x80', b"x"),
    "endless image": pours(_PAGE + b'{"text": "", "images": {"a.jpg": "', b"AAAA"),
    "endless images": pours(_PAGE + b'{"text": "", "images": {"a.jpg": ""', b',"b.jpg":""'),
    "endless values": pours(_PAGE + b'{"text": ""}, "prunedResult": {"a": [[]', b",[]"),
    "endless number": pours(_PAGE + b'{"text": 1', b"1"),
    "endless pages": pours(_PAGE + b'{"text": ""}}', b',{"prunedResult":{},"markdown":{"text":""}}'),
    "endless envelope": pours(b'{"errorCode": 0, "errorMsg": "', b"x"),
    "endless name": pours(b'{"', b"x"),
    "nothing anybody wants": pours(b'{"logId": [0', b",[{}]"),
    "deep": pours(_PAGE + b'{"text": ""}, "prunedResult": ', b"[", times=1),
    "deep where nobody looks": pours(b'{"logId": ', b"[", times=1),
    "a bomb": is_a_bomb,
    "a redirect": leads_to_itself,
    "an error": lambda handler, _request: handler.pour(repeat(b" " * (1 << 20)), status=500),
    "deep error": lambda handler, _request: handler.write(500, b"[" * 200_000),
    "deep message": says(500, {"errorCode": 500, "errorMsg": "[" * 200_000}),
}


class Faults:
    """The ways to fail, for `api.next` and `api.answer`."""

    fails = staticmethod(fails)
    says = staticmethod(says)
    resets = staticmethod(resets)
    resets_midway = staticmethod(resets_midway)
    ends_short = staticmethod(ends_short)
    drips = staticmethod(drips)
    drips_headers = staticmethod(drips_headers)
    hostile = HOSTILE


class Maker:
    """Writes real documents into a folder and returns their paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def data(self, name: str, data: bytes) -> Path:
        path = self._path(name)
        path.write_bytes(data)
        return path

    def image(
        self, name: str, *, size: tuple[int, int] = (8, 8), kind: str = "PNG", shade: int = 255
    ) -> Path:
        path = self._path(name)
        Image.new("L", size, shade).save(path, kind)
        return path

    def tiff(self, name: str, *, pages: int, big: bool = False) -> Path:
        path = self._path(name)
        images = [Image.new("L", (8, 8), shade) for shade in range(pages)]
        images[0].save(path, "TIFF", save_all=True, append_images=images[1:], big_tiff=big)
        return path

    def pdf(
        self,
        name: str,
        *,
        pages: int,
        password: str | None = None,
        owner: str | None = None,
        algorithm: str = "RC4-128",
    ) -> Path:
        writer = pypdf.PdfWriter()
        for _ in range(pages):
            writer.add_blank_page(width=100, height=100)
        if password is not None:
            writer.encrypt(password, owner, algorithm=algorithm)
        path = self._path(name)
        writer.write(path)
        return path


def quick_client(url: str, *, timeout: float = 60.0) -> Client:
    """A client that waits long for an answer and briefly for an API to come back."""
    return Client(url, timeout=timeout, pause=0.01, patience=0.3)


def parse(
    api: PipelineApi, path: Path, options: ParseOptions | None = None, *, timeout: float = 60.0
) -> ParsedDocument:
    """Parse one file with a client of its own."""
    return quick_client(api.url, timeout=timeout).parse(inspect(path), options or ParseOptions())


def failure(api: PipelineApi, path: Path, *, timeout: float = 60.0) -> PaddockError:
    """The error that parsing one file ends with."""
    with pytest.raises(PaddockError) as caught:
        parse(api, path, timeout=timeout)
    return caught.value


def error_of(summary: Summary) -> PaddockError:
    """The error of the only input."""
    (outcome,) = summary.outcomes
    assert outcome.error is not None
    return outcome.error


def statuses(summary: Summary) -> list[str]:
    """The status of each input, in their order."""
    return [outcome.status.value for outcome in summary.outcomes]


def names_below(folder: Path) -> list[str]:
    """Every file below `folder`, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
