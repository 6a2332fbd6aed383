"""What a stranger can send to a running pipeline API: it is refused with the reason, and harms nobody.

All rows go to one stack. After each, the service answers at once; after all, nothing was restarted.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests
from PIL import Image

from programs import docker
from repository import REPOSITORY
from samples.pictures import BITS, COMPRESSION, PHOTOMETRIC, bars, pdf, tiff
from workshop import RunningStack

SAMPLE = REPOSITORY / "docs/sample"
PDF, PNG = (SAMPLE / "receipt.pdf").read_bytes(), (SAMPLE / "receipt.png").read_bytes()
LIMIT = 60  # seconds in which a hostile request must be answered
HEALTH_WITHIN = 1.0  # seconds
ENDLESS_AFTER = 50  # seconds after which a connection that says nothing must be gone


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def picture(kind: str, size: tuple[int, int] = (64, 64), mode: str = "1") -> bytes:
    made = io.BytesIO()
    Image.new(mode, size).save(made, kind)
    return made.getvalue()


def pages(count: int) -> bytes:
    """A PDF of empty pages, a few bytes each."""
    kids = " ".join(f"{number + 3} 0 R" for number in range(count))
    objects = ["<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Count {count}/Kids[{kids}]>>"]
    objects += ["<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>"] * count
    return pdf(*objects)


def page_of(box: str, more: str = "") -> bytes:
    return pdf(
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[{box}]{more}>>",
    )


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG of that size, and almost no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)

    head = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A request and how it is to be answered."""

    body: Any = None  # JSON, or bytes as they are
    status: int = 422
    words: str = ""
    path: str = "/layout-parsing"
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def document(data: bytes, **options: Any) -> dict[str, Any]:
    return {"file": encoded(data), "visualize": False, **options}


def joining(**more: Any) -> dict[str, Any]:
    return {"pages": [{"prunedResult": {}, **more}]}


RESTRUCTURE = "/restructure-pages"
ROWS: dict[str, Row] = {
    # --- links
    "link to the engine's bridge": Row(
        body={"file": "http://172.17.0.1:1/a.png", "fileType": 1}, words="opens no links"
    ),
    "link to the VLM server": Row(
        body={"file": "http://vlm:8080/v1/models", "fileType": 1}, words="opens no links"
    ),
    "link to itself": Row(body={"file": "http://127.0.0.1:8080/health"}, words="opens no links"),
    "link to the cloud's metadata": Row(
        body={"file": "https://169.254.169.254/latest/"}, words="opens no links"
    ),
    "link to a file": Row(body={"file": "file:///etc/passwd", "fileType": 1}, words="opens no links"),
    "link in capitals": Row(body={"file": "HTTP://EXAMPLE.INVALID/a.pdf"}, words="opens no links"),
    "link among pictures of Markdown": Row(
        path=RESTRUCTURE,
        body=joining(markdownImages={"imgs/a.jpg": "http://172.17.0.1:1/"}) | {"outputFormats": ["docx"]},
        words="found a link",
    ),
    "link among pictures of one document": Row(
        path=RESTRUCTURE,
        body=joining(markdownImages={"imgs/a.jpg": "https://example.invalid/"})
        | {"outputFormats": ["docx"], "concatenatePages": True},
        words="found a link",
    ),
    # --- what no decoder is to see
    "JPEG 2000": Row(
        body=document(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99)), words="expected a PDF, PNG, JPEG or TIFF"
    ),
    "JPEG 2000 codestream": Row(body=document(b"\xff\x4f\xff\x51" + bytes(99)), words="expected a PDF"),
    "EXR": Row(body=document(b"v/1\x01" + bytes(99)), words="expected a PDF"),
    "HDR": Row(body=document(b"#?RADIANCE\n" + bytes(99)), words="expected a PDF"),
    "WebP": Row(body=document(picture("WEBP", mode="RGB")), words="expected a PDF"),
    "GIF": Row(body=document(picture("GIF")), words="expected a PDF"),
    "BMP": Row(body=document(picture("BMP")), words="expected a PDF"),
    "PNM": Row(body=document(picture("PPM")), words="expected a PDF"),
    "a program": Row(body=document(b"\x7fELF" + bytes(99)), words="expected a PDF"),
    "HTML": Row(body=document(b"<html><script>alert(1)</script>"), words="expected a PDF"),
    "nothing": Row(body=document(b""), words="found nothing"),
    "a PNG said to be a PDF": Row(body=document(PNG, fileType=0), words="fileType"),
    "a PDF said to be a picture": Row(body=document(PDF, fileType=1), words="fileType"),
    # --- sizes
    "PNG of 400 million pixels": Row(body=document(picture("PNG", (20_000, 20_000))), words="API_MAX_PIXELS"),
    "PNG that says 2^31 pixels a side": Row(body=document(png_header(2**31 - 1, 2**31 - 1)), words="pixels"),
    "TIFF of 400 million pixels": Row(body=document(picture("TIFF", (20_000, 20_000))), words="pixels"),
    "PNG without its pixels": Row(body=document(png_header(5000, 5000)), words="cannot be read to its end"),
    "a JPEG cut off": Row(
        body=document(picture("JPEG", (900, 900), "L")[:-200]), words="cannot be read to its end"
    ),
    "PDF of 20,000 pages": Row(body=document(pages(20_000)), words="API_MAX_PAGES"),
    "page of 10^9 points": Row(body=document(page_of("0 0 1000000000 1000000000")), words="API_MAX_PIXELS"),
    "page of no size": Row(body=document(page_of("0 0 0 0")), status=0),
    "page of a size that is no number": Row(body=document(page_of("0 0 1e400 nan")), status=0),
    "page with a UserUnit of 10^9": Row(
        body=document(page_of("0 0 99 99", "/UserUnit 1000000000")), status=0
    ),
    "PDF without pages": Row(
        body=document(pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 0/Kids[]>>"))
    ),
    "PDF whose pages are a circle": Row(
        body=document(pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 9/Kids[2 0 R 2 0 R]>>"))
    ),
    "PDF of rubbish": Row(body=document(b"%PDF-1.7\n" + bytes(range(256)) * 64), words="cannot be opened"),
    "a body above the limit": Row(
        headers={"Content-Length": "200000000"}, body=b"{", status=413, words="API_MAX_BYTES"
    ),
    "a million small values": Row(
        body=b'{"file":"","a":[' + b"0," * 1_100_000 + b"0]}", status=413, words="values of JSON"
    ),
    "a million empty lists": Row(body=b'{"a":[' + b"[]," * 1_100_000 + b"0]}", status=413),
    "JSON 100,000 deep": Row(body=b"[" * 100_000),
    "objects 50,000 deep": Row(body=b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a number of 100,000 digits": Row(body=b'{"a": ' + b"9" * 100_000 + b"}"),
    "NaN": Row(body=b'{"file": "", "temperature": NaN}'),
    "no JSON": Row(body=b"file=a"),
    "a list": Row(body=[]),
    "bytes that are no UTF-8": Row(body=b'{"file": "\xff\xfe"}'),
    # --- options
    "an option of the VLM server": Row(
        body=document(PNG, vlmExtraArgs={"logits_processors": ["os.system"]}), words="vlmExtraArgs"
    ),
    "minPixels above maxPixels": Row(body=document(PNG, minPixels=9, maxPixels=8)),
    "temperature of 10^308": Row(body=document(PNG, temperature=1e308), words="temperature"),
    "an unclip ratio of 10^9": Row(body=document(PNG, layoutUnclipRatio=1e9), words="layoutUnclipRatio"),
    "thresholds of no class": Row(body=document(PNG, layoutThreshold={"../x": 0.5}), words="layoutThreshold"),
    "a prompt of one's own": Row(body=document(PNG, promptLabel="say this"), words="promptLabel"),
    "a log id that is an object": Row(body=document(PNG, logId={"a": 1}), words="logId"),
    "a log id with an escape": Row(body=document(PNG, logId="\x1b[2J"), words="logId"),
    "orientation without its weights": Row(
        body=document(PNG, useDocOrientationClassify=True), words="PP-LCNet_x1_0_doc_ori"
    ),
    "unwarping without its weights": Row(body=document(PNG, useDocUnwarping=True), words="UVDoc"),
    "an unknown export": Row(body=document(PNG, outputFormats=["exe"]), words="outputFormats"),
    "pages that are none": Row(path=RESTRUCTURE, body=joining(), words="pages"),
    "no pages": Row(path=RESTRUCTURE, body={"pages": []}, words="API_MAX_PAGES"),
    "pages of the wrong kind": Row(
        path=RESTRUCTURE, body={"pages": [{"prunedResult": {"parsing_res_list": [1]}}]}, words="pages"
    ),
    "a picture that is none": Row(
        path=RESTRUCTURE,
        body=joining(markdownImages={"imgs/a.jpg": encoded(b"GIF89a" + bytes(99))})
        | {"outputFormats": ["docx"]},
        words="markdownImages",
    ),
    "a picture of 400 million pixels": Row(
        path=RESTRUCTURE,
        body=joining(markdownImages={"imgs/a.jpg": encoded(picture("PNG", (20_000, 20_000)))})
        | {"outputFormats": ["docx"]},
        words="API_MAX_PIXELS",
    ),
    # --- HTTP
    "a form": Row(body=b"file=a", headers={"Content-Type": "application/x-www-form-urlencoded"}, status=415),
    "plain text": Row(body={"file": ""}, headers={"Content-Type": "text/plain"}, status=415),
    "a compressed body": Row(
        body=zlib.compress(bytes(10**6)), headers={"Content-Encoding": "deflate"}, status=415
    ),
    "somebody else's name": Row(
        body=document(PNG), headers={"Host": "evil.example"}, status=421, words="API_HOSTS"
    ),
    "no name": Row(body=document(PNG), headers={"Host": "a b"}, status=400),
    "an unknown path": Row(path="/../../etc/passwd", body={}, status=404),
    "GET of an operation": Row(method="GET", body=b"", status=405),
    "POST of health": Row(path="/health", body={}, status=405),
    "documentation with scripts from elsewhere": Row(path="/docs", method="GET", body=b"", status=404),
}


def test_the_document_counts_them() -> None:
    faults = (REPOSITORY / "docs/reference/faults.md").read_text("utf-8")
    assert f"sends {len(ROWS)} hostile requests" in faults


def ask(url: str, row: Row) -> tuple[int, str]:
    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=LIMIT)
    try:
        headers = {"Content-Type": "application/json", **row.headers}
        connection.request(row.method, row.path, row.content(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def require_health(url: str) -> None:
    """It answers at once, whatever was sent."""
    began = time.monotonic()
    assert requests.get(f"{url}/health", timeout=LIMIT).json()["errorMsg"] == "Healthy"
    assert time.monotonic() - began < HEALTH_WITHIN


@pytest.fixture(scope="module")
def silent(stack: RunningStack) -> Iterator[list[socket.socket]]:
    """Connections that send half of their headers or of a body and then nothing, while the rows run."""
    sockets = []
    for number in range(300):
        connection = socket.create_connection(("127.0.0.1", stack.port), timeout=LIMIT)
        head = b"POST /layout-parsing HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head if number % 10 else head + b"Content-Length: 1000\r\n\r\n{")
        sockets.append(connection)
    yield sockets
    for connection in sockets:
        connection.close()


@pytest.fixture(scope="module")
def restarts(stack: RunningStack) -> Iterator[None]:
    """Nothing was ended by these requests."""
    before = [stack.inspect(service) for service in ("api", "vlm")]
    yield
    after = [stack.inspect(service) for service in ("api", "vlm")]
    for was, now in zip(before, after, strict=True):
        assert (now["Id"], now["State"]["StartedAt"]) == (was["Id"], was["State"]["StartedAt"])
        assert now["State"]["OOMKilled"] is False


@pytest.mark.usefixtures("silent", "restarts")
@pytest.mark.parametrize("name", ROWS)
def test_it_is_refused_with_the_reason(stack: RunningStack, name: str) -> None:
    row = ROWS[name]
    status, text = ask(stack.url, row)
    if row.status:  # else whatever PDFium makes of it is right, if it ends well
        assert status == row.status, text
        assert row.words in text
    assert status < 500, text
    assert set(json.loads(text)) >= {"logId", "errorCode", "errorMsg"}
    assert "Traceback" not in text
    require_health(stack.url)


@pytest.mark.usefixtures("restarts")
def test_what_sizes_the_models_work_is_clamped(stack: RunningStack) -> None:
    """12 kB that ended the VLM server before."""
    options = {"minPixels": 10**9, "maxPixels": 10**12, "maxNewTokens": 10**9}
    answer = requests.post(f"{stack.url}/layout-parsing", json=document(PNG, **options), timeout=300)
    assert answer.status_code == 200, answer.text


def test_no_connection_is_opened_for_anybody(stack: RunningStack) -> None:
    """A server on the bridge of the API's own network hears nothing."""
    heard: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    (outside,) = (
        name for name in stack.inspect("api")["NetworkSettings"]["Networks"] if name.endswith("outside")
    )
    gateway = json.loads(docker("network", "inspect", outside))[0]["IPAM"]["Config"][0]["Gateway"]
    server = HTTPServer((gateway, 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for path, body in (
            ("/layout-parsing", {"file": f"http://{gateway}:{server.server_port}/a.png", "fileType": 1}),
            (
                RESTRUCTURE,
                joining(markdownImages={"a": f"http://{gateway}:{server.server_port}/b"})
                | {"outputFormats": ["docx"]},
            ),
            (RESTRUCTURE, joining(markdownImages={"a": f"http://{gateway}:{server.server_port}/c"})),
        ):
            requests.post(f"{stack.url}{path}", json=body, timeout=LIMIT)
    finally:
        server.shutdown()
        server.server_close()
    assert heard == []


def test_a_missing_file_type_is_told_from_the_content(stack: RunningStack) -> None:
    """As PaddleOCR's own MCP server sends it."""
    for data, kind in ((PDF, "pdf"), (PNG, "image")):
        answer = requests.post(f"{stack.url}/layout-parsing", json=document(data), timeout=300)
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"]["dataInfo"]["type"] == kind


def test_a_word_document_comes_with_the_pages(stack: RunningStack) -> None:
    body = document(PNG, outputFormats=["docx"])
    answer = requests.post(f"{stack.url}/layout-parsing", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    (page,) = answer.json()["result"]["layoutParsingResults"]
    assert base64.b64decode(page["exports"]["docx"]["content"]).startswith(b"PK")


def test_a_bad_page_comes_back_in_its_place_and_costs_no_other(stack: RunningStack) -> None:
    good, bad = {BITS: [8], PHOTOMETRIC: [1]}, {BITS: [8], PHOTOMETRIC: [1], COMPRESSION: [34712]}
    body = document(tiff(*[(bars().tobytes(), tags) for tags in (good, bad, good)]), outputFormats=["docx"])
    for restructured in (False, True):
        answer = requests.post(
            f"{stack.url}/layout-parsing", json=body | {"restructurePages": restructured}, timeout=300
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-paddock-pages"] == "judged"
        pages = answer.json()["result"]["layoutParsingResults"]
        assert answer.json()["result"]["dataInfo"]["numPages"] == len(pages) == 3
        (problem,) = pages[1]["problems"]
        assert (problem["kind"], problem["severity"]) == ("unreadable", "failed")
        assert "compressed with JPEG 2000" in problem["message"]
        assert pages[1]["markdown"]["text"] == ""
        assert pages[1]["prunedResult"]["parsing_res_list"] == []
        assert pages[0]["prunedResult"].keys() == pages[1]["prunedResult"].keys()
        for page in (pages[0], pages[2]):
            assert all(problem["severity"] == "warning" for problem in page.get("problems", []))
    again = {
        "pages": [{"prunedResult": page["prunedResult"], "problems": page.get("problems")} for page in pages]
    }
    for together in (False, True):
        joined = requests.post(
            f"{stack.url}{RESTRUCTURE}", json=again | {"concatenatePages": together}, timeout=LIMIT
        )
        assert joined.status_code == 200, joined.text
        entries = joined.json()["result"]["layoutParsingResults"]
        assert problem in entries[0 if together else 1]["problems"]


def test_openapi_says_what_there_is(stack: RunningStack) -> None:
    described = requests.get(f"{stack.url}/openapi.json", timeout=LIMIT).json()
    assert set(described["paths"]) == {"/layout-parsing", "/restructure-pages", "/health", "/health/ready"}
    assert "problems" in described["components"]["schemas"]["LayoutParsingResult"]["properties"]


def test_the_door_is_closed_at_a_number_of_requests(stack: RunningStack) -> None:
    """Those beyond it are told when to come again; nobody waits without an end."""
    answers: list[tuple[int, str | None]] = []
    body = document(pages(3))

    def send() -> None:
        answer = requests.post(f"{stack.url}/layout-parsing", json=body, timeout=600)
        answers.append((answer.status_code, answer.headers.get("Retry-After")))

    senders = [threading.Thread(target=send) for _ in range(60)]
    for sender in senders:
        sender.start()
    require_health(stack.url)
    for sender in senders:
        sender.join()
    assert {status for status, _ in answers} <= {200, 503}
    assert sum(status == 200 for status, _ in answers) >= 40
    assert all(after for status, after in answers if status == 503)


def test_connections_that_say_nothing_are_closed(silent: list[socket.socket], stack: RunningStack) -> None:
    end = time.monotonic() + ENDLESS_AFTER
    for connection in silent:
        connection.settimeout(max(1.0, end - time.monotonic()))
        while connection.recv(4096):
            pass
    require_health(stack.url)
