"""The jobs API over HTTP: what PaddleOCR's client speaks, what comes beyond it, and what is refused."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
import requests

import description
import service as programs
from job_stack import JOBS, JPEG, MODEL, POSTGRES, JobService, PagesApi, Postgres, pdf, running
from limits import Refusal

pytestmark = pytest.mark.needs(POSTGRES)
NO_JOB = "there is no such job, or it is another key's"
TOO_LARGE = "file: found more than 200000 bytes (API_MAX_BYTES)"
KEYS = {"ward-key": "ward", "lab-key": "lab"}
Both = tuple[JobService, PagesApi]
Start = Callable[..., Both]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, files: str) -> Iterator[Both]:
    """A service that asks for keys, with one worker."""
    folder = tmp_path_factory.mktemp("jobs")
    keys = folder / "keys"
    keys.write_text(
        "".join(f"sha256:{hashlib.sha256(key.encode()).hexdigest()} {name}\n" for key, name in KEYS.items())
    )
    settings = {
        "API_KEYS": "yes",
        "PADDOCK_KEYS_FILE": str(keys),
        "API_MAX_BYTES": "200000",
        "ALLOW_URLS": files,
    }
    with running(folder / "service", postgres, "api", "worker", settings=settings) as (service, api):
        service.key = "ward-key"
        yield service, api


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    """Host and port of a server that has one document at every path but /none."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            """Keep the test output quiet."""

        def do_GET(self) -> None:
            self.send_response(404 if self.path == "/none" else 200)
            self.end_headers()
            self.wfile.write(pdf(20, 5))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_document_becomes_lines_with_links(both: Both) -> None:
    service, _ = both
    job = service.accepted(pdf(1, 10), batchId="ours")
    ended = service.ended(job)
    assert ended["state"] == "done"
    assert ended["extractProgress"].keys() == {"totalPages", "extractedPages", "startTime", "endTime"}
    assert (ended["extractProgress"]["totalPages"], ended["extractProgress"]["extractedPages"]) == (10, 10)
    answer = requests.get(ended["resultUrl"]["jsonUrl"], timeout=60)
    assert "charset=utf-8" in answer.headers["Content-Type"]
    lines = [json.loads(line)["result"] for line in answer.text.splitlines()]
    assert lines[0]["dataInfo"]["numPages"] == len(lines[0]["dataInfo"]["pages"]) == len(lines) == 10
    assert service.texts(job) == [f"page {number}" for number in range(1, 11)]
    (page,) = lines[3]["layoutParsingResults"]
    links = [page["markdown"]["images"]["imgs/a.jpg"], page["outputImages"]["layout_det_res"]]
    pictures = [requests.get(link, timeout=60) for link in links]
    assert [picture.content for picture in pictures] == [JPEG, JPEG]
    assert pictures[0].headers["Content-Type"] == "image/jpeg"
    assert pictures[0].headers["X-Content-Type-Options"] == "nosniff"
    batch = service.get(f"{JOBS}/batch/ours").json()["data"]["extractResult"]
    assert [(entry["jobId"], entry["state"]) for entry in batch] == [(job, "done")]
    assert [path.name.partition(".")[0] for path in (service.folder / "results").iterdir()].count(job) == 1
    service.wait_for(lambda: not (service.folder / f"parts/{job}").exists())


def test_document_behind_a_link(both: Both, files: str) -> None:
    service, _ = both
    body = {"model": MODEL, "fileUrl": f"http://{files}/a/scan.pdf?x=1", "optionalPayload": {"topP": 0.5}}
    answer = service.ask("POST", JOBS, json={**body, "pageRanges": "2-3", "batchId": "linked"})
    job = answer.json()["data"]["jobId"]
    assert service.ended(job)["fileName"] == "scan.pdf"
    assert service.texts(job) == ["page 2", "page 3"]
    none = service.ask("POST", JOBS, json={**body, "fileUrl": f"http://{files}/none"})
    assert (none.status_code, none.json()["code"]) == (400, 400)
    assert none.json()["msg"].startswith("file: the link was answered with 404, expected 200")


def test_only_the_pages_asked_for_are_read(both: Both) -> None:
    service, api = both
    job = service.accepted(pdf(2, 12), pageRanges="11, 2,4-8,5")
    assert service.ended(job)["extractProgress"]["totalPages"] == 7
    assert service.texts(job) == [f"page {number}" for number in (2, 4, 5, 6, 7, 8, 11)]
    assert {page for document, page in api.calls if document == 2} == {2, 4, 5, 6, 7, 8, 11}


def test_pages_outside_the_document(both: Both) -> None:
    service, _ = both
    ended = service.ended(service.accepted(pdf(3, 2), pageRanges="1,9"))
    assert ended["state"] == "failed"
    assert ended["cancelled"] is False
    assert ended["errorMsg"] == "pageRanges: found page 9, expected at most 2, the last page of the document"


def test_ranges_are_joined_as_one_document(both: Both) -> None:
    service, api = both
    options = {"restructurePages": True, "mergeTables": True, "temperature": 0.5}
    job = service.accepted(pdf(4, 6), optionalPayload=json.dumps(options))
    assert service.ended(job)["state"] == "done"
    assert service.texts(job) == [f"joined {number}" for number in range(1, 7)]
    (joined,) = [body for path, body in api.requests if path == "/restructure-pages"]
    assert joined["mergeTables"] is True
    assert [page["prunedResult"]["number"] for page in joined["pages"]] == [1, 2, 3, 4, 5, 6]
    parts = [body for path, body in api.requests if path != "/restructure-pages" and "temperature" in body]
    assert parts == [{"mergeTables": True, "temperature": 0.5}] * 2


def test_a_small_document_is_sent_as_it_is(both: Both) -> None:
    service, api = both
    job = service.accepted(pdf(5, 3), optionalPayload='{"restructurePages": true}')
    assert service.ended(job)["state"] == "done"
    assert service.texts(job) == ["page 1", "page 2", "page 3"]
    assert {"restructurePages": True} in [body for _, body in api.requests]


def test_a_job_belongs_to_its_key(both: Both) -> None:
    service, _ = both
    job = service.accepted(pdf(6, 1), batchId="secret")
    service.ended(job)
    for method, path in (
        ("GET", f"{JOBS}/{job}"),
        ("POST", f"{JOBS}/{job}/cancel"),
        ("DELETE", f"{JOBS}/{job}"),
    ):
        answer = service.ask(method, path, key="lab-key")
        assert (answer.status_code, answer.json()["msg"]) == (
            404,
            "there is no such job, or it is another key's",
        )
        assert service.ask(method, path, key="nobody's").status_code == 401
        assert service.ask(method, path, key="").json()["code"] == 401
    assert service.ask("GET", f"{JOBS}/batch/secret", key="lab-key").json()["data"]["extractResult"] == []
    assert service.ask("GET", JOBS, key="lab-key").json()["data"]["jobs"] == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "PP-OCRv6"}, f"model: found 'PP-OCRv6'; {MODEL} is served here"),
        ({"model": ""}, f"model: is missing; {MODEL} is served here"),
        ({"pageRanges": "3-1"}, "pageRanges: found 3-1, expected the smaller page first"),
        ({"pageRanges": "0"}, "pageRanges: found page 0, expected pages from 1"),
        ({"pageRanges": "1;2"}, "pageRanges: found '1;2', expected pages and ranges such as 2,4-6"),
        ({"optionalPayload": "{"}, "optionalPayload: is not JSON (Expecting property name"),
        ({"optionalPayload": "[]"}, "optionalPayload: expected an object"),
        ({"optionalPayload": '{"file": "x"}'}, "optionalPayload: file is no option here"),
        ({"optionalPayload": '{"topP": NaN}'}, "optionalPayload: found NUL, NaN or Infinity"),
        ({"priority": "now"}, "priority: found 'now', expected low, normal, high"),
        ({"batchId": "x" * 201}, "batchId: expected at most 200 printable characters"),
        ({"webhookUrl": "https://a.example/"}, "webhookUrl: this service calls nobody: JOBS_WEBHOOKS"),
        ({"colour": "red"}, "found the field 'colour', expected only file, model,"),
    ],
)
def test_fields_that_cannot_be_meant(both: Both, fields: dict[str, str], said: str) -> None:
    service, _ = both
    answer = service.submit(pdf(1, 1), **fields)
    assert answer.status_code == 400
    assert answer.json()["msg"].startswith(said)
    assert answer.json()["data"] is None


def test_bodies_that_are_no_submission(both: Both) -> None:
    service, _ = both
    documents = service.folder / "documents"
    before = sorted(documents.iterdir())
    for status, said, body in (
        (
            400,
            "file: is empty, expected a document",
            {"files": {"file": ("a.pdf", b"")}, "data": {"model": MODEL}},
        ),
        (
            400,
            "file: found a file that begins with 4d 5a",
            {"files": {"file": ("a.exe", b"MZ")}, "data": {"model": MODEL}},
        ),
        (400, "found no part `file`", {"files": {"other": ("a.pdf", b"x")}}),
        (400, "expected multipart/form-data", {"data": b"%PDF-1.7"}),
        (400, "fileUrl: is missing or no link", {"json": {"model": MODEL}}),
        (
            400,
            "file: a.example:80 is not among the hosts",
            {"json": {"model": MODEL, "fileUrl": "http://a.example/b"}},
        ),
        (
            413,
            "file: found more than 200000 bytes (API_MAX_BYTES)",
            {"files": {"file": ("a.pdf", b"x" * 200_001)}},
        ),
        (
            413,
            "file: found more than 200000 bytes (API_MAX_BYTES)",
            {"files": {"file": ("a.pdf", b"x" * 3_000_000)}},
        ),
        (
            400,
            "the body ends in the middle",
            {
                "data": b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%PDF-',
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
        ),
    ):
        answer = service.ask("POST", JOBS, **body)
        assert (answer.status_code, answer.json()["msg"][: len(said)]) == (status, said)
    assert sorted(documents.iterdir()) == before


def test_many_fields_and_long_ones(both: Both) -> None:
    service, _ = both
    many = service.submit(pdf(1, 1), **{f"f{number}": "" for number in range(20)})
    assert (many.status_code, many.json()["msg"][:21]) == (400, "found too many fields")
    long = service.submit(pdf(1, 1), optionalPayload="x" * 70_000)
    assert (long.status_code, long.json()["msg"]) == (413, "optionalPayload: found more than 65536 bytes")


def test_the_same_submission_again_is_one_job(both: Both) -> None:
    service, _ = both
    document = pdf(7, 1)
    first, again = (service.submit(document, repeat="r-1").json()["data"]["jobId"] for _ in range(2))
    assert again == first
    other = service.submit(pdf(8, 1), repeat="r-1")
    assert (other.status_code, other.json()["code"]) == (409, 409)
    assert service.submit(document, repeat="r-1", pageRanges="1").status_code == 409
    assert service.submit(document, repeat="r-2").json()["data"]["jobId"] != first
    elsewhere = service.submit(document, repeat="r-1", key="lab-key")
    assert elsewhere.json()["data"]["jobId"] != first
    assert not [path for path in (service.folder / "documents").iterdir() if path.name.endswith(".part")]


def test_jobs_are_listed_cancelled_and_deleted(both: Both) -> None:
    service, api = both
    going = threading.Event()
    api.before = lambda asked: asked.document != 9 or going.wait(60)
    try:
        job = service.accepted(pdf(9, 6))
        service.wait_for(lambda: service.state(job)["state"] == "running" and api.at_once[(9, 1)] > 0)
        cancelled = service.ask("POST", f"{JOBS}/{job}/cancel").json()["data"]
    finally:
        going.set()
        api.before = lambda _asked: True
    assert (cancelled["state"], cancelled["errorMsg"], cancelled["cancelled"]) == (
        "failed",
        "cancelled",
        True,
    )
    done = service.accepted(pdf(10, 1))
    link = service.ended(done)["resultUrl"]["jsonUrl"]
    assert service.ask("POST", f"{JOBS}/{done}/cancel").json()["data"]["state"] == "done"
    listed = service.get(f"{JOBS}?limit=2").json()["data"]["jobs"]
    assert [entry["jobId"] for entry in listed] == [done, job]
    after = service.get(f"{JOBS}?limit=1&before={done}").json()["data"]["jobs"]
    assert [entry["jobId"] for entry in after] == [job]
    failed = service.get(f"{JOBS}?state=failed").json()["data"]["jobs"]
    assert job in [entry["jobId"] for entry in failed]
    assert service.get(f"{JOBS}?limit=0").status_code == service.get(f"{JOBS}?state=odd").status_code == 400
    assert service.ask("DELETE", f"{JOBS}/{done}").json()["data"] == {"jobId": done, "deleted": True}
    assert service.ask("DELETE", f"{JOBS}/{done}").status_code == 404
    assert requests.get(link, timeout=60).status_code == 410
    assert not [path for path in service.folder.rglob("*") if done in path.name]


def test_links_that_were_changed(both: Both) -> None:
    service, _ = both
    job = service.accepted(pdf(11, 1))
    link = service.ended(job)["resultUrl"]["jsonUrl"]
    assert requests.get(link, timeout=60).status_code == 200
    for changed in (
        link[:-1] + ("A" if link[-1] != "A" else "B"),
        link.replace("expires=", "expires=9"),
        link.replace("result.jsonl", "page-0001-1.jpg"),
        link.replace(job, "00000000-0000-4000-8000-000000000000"),
        link.partition("?")[0],
    ):
        assert requests.get(changed, timeout=60).status_code == 403


def test_links_expire_and_queues_are_full(start: Start) -> None:
    service, _ = start("api", "worker", JOBS_LINK_SECONDS="1", JOBS_MAX_WAITING="1")
    link = service.ended(service.accepted(pdf(1, 1)))["resultUrl"]["jsonUrl"]
    service.kill("worker")
    service.wait_for(lambda: service.submit(pdf(1, 1)).status_code == 429)  # the count is kept for a second
    full = service.submit(pdf(1, 1))
    assert full.headers["Retry-After"] == "10"
    assert full.json()["msg"].endswith("jobs wait, as many as JOBS_MAX_WAITING allows: try again later")
    service.wait_for(lambda: requests.get(link, timeout=60).status_code == 403)
    assert requests.get(link, timeout=60).json()["msg"].startswith("this link has expired")


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (OSError(28, "No space left on device"), 507),
        (OSError(122, "Disk quota exceeded"), 507),
        (OSError(5, "Input/output error"), 500),
        (psycopg.OperationalError("gone"), 503),
        (psycopg.errors.DiskFull("full"), 503),
        (Refusal(422, "no"), 400),
        (Refusal(413, "no"), 413),
    ],
)
def test_what_goes_wrong_as_clients_tell_it_apart(wrong: Exception, status: int) -> None:
    assert programs.refusal_of(wrong, "").status == status


def test_figures(both: Both) -> None:
    service, _ = both
    service.ended(service.accepted(pdf(12, 5)))
    text = service.ask("GET", "/metrics", key="").text
    figures = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line[0] != "#"
    }
    assert figures['paddock_jobs{state="pending"}'] == 0
    assert figures['paddock_jobs_oldest_age_seconds{state="running"}'] == 0
    assert figures["paddock_jobs_pages_total"] >= 5
    assert figures["paddock_jobs_accepted_total"] >= 1
    assert figures['paddock_jobs_finished_total{state="done"}'] >= 1
    assert figures['paddock_jobs_retries_total{reason="worker"}'] == 0


def test_the_description_is_true(both: Both) -> None:
    service, _ = both
    described = service.get("/api/v2/openapi.json").json()
    assert described == description.document(keys=True, models=(MODEL,))
    routes = {(route.template, route.method.lower()): route.needs_key for route in programs.ROUTES}
    documented = {
        (path, method): operation.get("security") != []
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert documented == routes
    job = service.accepted(pdf(13, 1), batchId="b")
    said = service.ended(job)
    schema = described["components"]["schemas"]["Job"]
    assert set(schema["required"]) <= said.keys() <= schema["properties"].keys()
    assert said["extractProgress"].keys() == schema["properties"]["extractProgress"]["properties"].keys()


def test_paths_and_hosts_that_are_not_ours(both: Both) -> None:
    service, _ = both
    assert service.get("/api/v2/ocr/other").status_code == 404
    assert service.get(f"{JOBS}/../../etc/passwd").status_code == 404
    put = service.ask("PUT", JOBS)
    assert (put.status_code, put.json()["msg"]) == (405, f"{JOBS} takes POST or GET")
    assert requests.get(service.url + JOBS, headers={"Host": "evil.example"}, timeout=60).status_code == 421
