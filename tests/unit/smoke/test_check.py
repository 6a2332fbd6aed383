"""The functional check: what is asked, how answers are judged, and which side is named.

The pipeline API is a real HTTP server on 127.0.0.1; the container's engine is a program of ours named
`docker`, which checks what it is given and prints what our questions would print.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pypdf
import pytest

from paddock.errors import ConfigurationError, ProgramError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Task
from paddock.ownweights.testweights import vlm
from paddock.render.renderer import Renderer
from paddock.smoke.check import check_url
from paddock.smoke.known import DOCUMENTS
from paddock.smoke.questions import PROMPTS, Questions
from paddock.smoke.served import tasks_of
from paddock.smoke.verdicts import (
    LIMITS,
    NO_READING,
    READS,
    READS_PLAIN,
    Check,
    Expectation,
    Side,
    Smoke,
    Verdict,
    judged,
)
from paddock.stack.configuration import Bind, Service
from paddock.weights import markers

KNOWN = json.loads((DOCUMENTS / "answers.json").read_text())
CORNERS = "".join(f"<|LOC_{n}|>" for n in range(8))


class Silent:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message, /):
        self.lines.append(message)

    warn = say

    def progress(self, *_arguments, **_named):
        raise AssertionError("smoke draws no bars")


def otsl(rows):
    return "".join("".join(f"<fcel>{cell}" for cell in row) + "<nl>" for row in rows)


def right_answer(task: Task) -> str:
    known = KNOWN["tasks"][task]
    if task is Task.TABLE:
        return otsl(known["cells"])
    if task is Task.CHART:
        return "\n".join(" | ".join(row) for row in known["cells"])
    if task is Task.SPOTTING:
        return "\n".join(line + CORNERS for line in known["text"].splitlines())
    return known["text"]


# --- the documents ------------------------------------------------------------------------------------------


def test_every_task_has_a_prompt_a_limit_and_a_document():
    for task in Task:
        assert PROMPTS[task]
        assert 0 < LIMITS[task] < 1
        assert (DOCUMENTS / KNOWN["tasks"][task]["file"]).read_bytes().startswith(b"\x89PNG")


def test_the_pdf_has_the_pages_that_are_written_down():
    known = KNOWN["documents"]["pdf"]
    assert len(pypdf.PdfReader(DOCUMENTS / known["file"]).pages) == len(known["pages"]) == 2


@pytest.mark.skipif(
    not Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists(), reason="no DejaVu fonts"
)
def test_the_documents_are_what_the_script_draws(tmp_path, repository):
    text = (repository / "scripts/maintain/make-smoke-documents.py").read_text()
    script = tmp_path / "scripts/maintain/draw.py"
    script.parent.mkdir(parents=True)
    script.write_text(text)
    subprocess.run([sys.executable, script], check=True)
    drawn = tmp_path / "tool/paddock/smoke/drawn"
    assert (drawn / "answers.json").read_bytes() == (DOCUMENTS / "answers.json").read_bytes()
    assert {path.name for path in drawn.iterdir()} == {path.name for path in DOCUMENTS.iterdir()}


def test_the_models_tasks_are_those_of_the_registry(repository, tmp_path):
    """Tasks are told from the rendered pipeline configuration, so that a site needs no registry."""
    registry = load_registry(repository / "templates")
    checked = set()
    for stack in registry.all_stacks():
        if stack.model.pipeline is None or stack.model.made:  # the embedded model has another's pipeline
            continue
        files = Renderer(repository / "templates").stack(stack)
        text = next(text for path, text in files.items() if path.name == "pipeline.yaml")
        path = tmp_path / "pipeline.yaml"
        path.write_text(text)
        assert set(tasks_of(_service(path))) == set(stack.model.tasks), stack.name
        checked.add(stack.model.name)
    assert len(checked) >= 3


def test_a_pipeline_configuration_that_is_none(tmp_path):
    (tmp_path / "pipeline.yaml").write_text("a: [")
    with pytest.raises(ConfigurationError, match=r"pipeline\.yaml: cannot be read"):
        tasks_of(_service(tmp_path / "pipeline.yaml"))


def _service(path: Path) -> Service:
    bind = Bind(source=path, target="/etc/paddock/pipeline.yaml")
    return Service(
        name="api",
        image="x",
        pull_policy="",
        published=(),
        binds=(bind,),
        environment={},
        memory=None,
        start_period=0,
    )


# --- judging answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(Task))
def test_the_right_answer_passes(task):
    check = judged(task, {"seconds": 1.0, "answer": right_answer(task), "cut": False}, READS)
    assert (check.side, check.name, check.verdict) == (Side.VLM, task.value, Verdict.PASSED)
    assert check.measure.share == 0


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("answer", ["", "!!!!!!!!!!", "The image shows a document."])
def test_a_wrong_answer_does_not(task, answer):
    check = judged(task, {"seconds": 1.0, "answer": answer, "cut": False}, READS)
    assert check.verdict is Verdict.WRONG
    assert "at most" in check.reason


def test_a_right_answer_that_never_ends_is_wrong():
    answer = {"seconds": 1.0, "answer": right_answer(Task.OCR), "cut": True}
    check = judged(Task.OCR, answer, READS)
    assert (check.verdict, check.reason) == (Verdict.WRONG, "the answer does not end")


def test_no_answer_is_a_failure_with_the_servers_reason():
    check = judged(Task.OCR, {"seconds": 1.0, "error": "Connection error."}, READS)
    assert (check.verdict, check.reason, check.ok) == (Verdict.FAILED, "Connection error.", False)


def test_test_weights_are_compared_with_their_text_and_say_so():
    test = Expectation(text="fixed words", layout=False)
    check = judged(Task.OCR, {"seconds": 1.0, "answer": "fixed words", "cut": False}, test)
    assert (check.verdict, check.reason, check.measure) == (Verdict.ANSWERED, NO_READING, None)
    check = judged(Task.OCR, {"seconds": 1.0, "answer": "something else", "cut": False}, test)
    assert check.verdict is Verdict.WRONG
    assert 'found "something else", expected the test text "fixed words"' in check.reason


def test_the_marker_of_test_weights_holds_their_text():
    for files in (vlm.hub_files(name="X", served_name="PaddleOCR-VL-1.6-0.9B", text="other words here"),):
        assert markers.text_in(files["TEST_WEIGHTS.md"].decode()) == "other words here"
    assert markers.text_in("# something else") is None


# --- asking the VLM server ----------------------------------------------------------------------------------


@pytest.fixture
def fake_docker(tmp_path, monkeypatch):
    """A `docker` that checks its arguments, keeps the request and prints `lines`."""

    def install(lines: list[str], *, status: int = 0) -> Path:
        request = tmp_path / "request.json"
        answers = tmp_path / "answers"
        answers.write_text("".join(f"{line}\n" for line in lines))
        program = tmp_path / "docker"
        program.write_text(
            f"#!{sys.executable}\n"
            "import sys\n"
            "assert sys.argv[1:6] == ['exec', '--interactive', 'box', 'python', '-c'], sys.argv\n"
            "compile(sys.argv[6], 'questions', 'exec')\n"
            f"open({str(request)!r}, 'w').write(sys.stdin.readline())\n"
            f"sys.stdout.write(open({str(answers)!r}).read())\n"
            f"sys.exit({status})\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return request

    return install


QUESTIONS = Questions(container="box", where={"pipeline": "/etc/paddock/pipeline.yaml"}, timeout=30)


def test_the_request_and_the_answers(fake_docker):
    request = fake_docker(
        [
            json.dumps({"server": "http://vlm:8080/v1", "model": "M", "backend": "vllm-server"}),
            "a warning of some library",
            json.dumps({"name": "ocr", "seconds": 0.5, "answer": "A", "cut": False}),
            json.dumps({"name": "spotting", "seconds": 0.5, "error": "refused"}),
        ]
    )
    reporter = Silent()
    answers = QUESTIONS.ask([Task.OCR, Task.SPOTTING], reporter)
    assert answers.model == "M"
    assert answers.by_task[Task.OCR]["answer"] == "A"
    assert answers.by_task[Task.SPOTTING]["error"] == "refused"
    assert "  a warning of some library" in reporter.lines
    sent = json.loads(request.read_text())
    assert (sent["pipeline"], sent["timeout"]) == ("/etc/paddock/pipeline.yaml", 30)
    assert [each["prompt"] for each in sent["questions"]] == ["OCR:", "Spotting:"]
    assert [each["extra_body"]["skip_special_tokens"] for each in sent["questions"]] == [True, False]
    assert base64.b64decode(sent["questions"][0]["png"]) == (DOCUMENTS / "receipt.png").read_bytes()


def test_a_task_that_was_never_asked_is_not_passed_over(fake_docker):
    fake_docker([json.dumps({"server": "x", "model": "M", "backend": "b"})])
    answers = QUESTIONS.ask([Task.OCR], Silent())
    assert judged(Task.OCR, answers.by_task[Task.OCR], READS).verdict is Verdict.FAILED


def test_a_container_that_cannot_run_the_questions(fake_docker):
    fake_docker(["ModuleNotFoundError: No module named 'openai'"], status=1)
    with pytest.raises(ProgramError, match="No module named 'openai'"):
        QUESTIONS.ask([Task.OCR], Silent())


# --- the pipeline API ---------------------------------------------------------------------------------------


@contextmanager
def api(markdown: dict[int, list[str]] | None, *, model: str = "M", notice: str = "") -> Iterator[str]:
    """A pipeline API that answers these pages: key 1 an image, 0 a PDF; None: 500 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments):
            """Keep the test output quiet."""

        def do_GET(self):
            self.answer(200, {"ready": True, "model": model, "reason": "", "notice": notice})

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if markdown is None:
                self.answer(500, {"logId": "1", "errorCode": 500, "errorMsg": "Internal server error"})
                return
            pages = markdown[request["fileType"]]
            results = [{"prunedResult": {}, "markdown": {"text": text, "images": {}}} for text in pages]
            result = {"layoutParsingResults": results, "dataInfo": {"numPages": len(pages)}}
            self.answer(200, {"logId": "1", "errorCode": 0, "errorMsg": "Success", "result": result})

        def answer(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read_pages() -> dict[int, list[str]]:
    documents = KNOWN["documents"]
    return {
        1: [" ".join(page) for page in documents["image"]["pages"]],
        0: [" ".join(page) for page in documents["pdf"]["pages"]],
    }


def test_a_url_whose_pages_are_read():
    with api(read_pages()) as url:
        found = check_url(url, report=Silent(), timeout=30)
    assert [(check.name, check.verdict) for check in found.checks] == [
        ("image", Verdict.PASSED),
        ("pdf", Verdict.PASSED),
    ]
    assert found.model == "M"
    assert found.failure() is None
    assert "not asked directly" in found.left_out


def test_a_url_with_test_weights():
    text = markers.DEFAULT_TEXT
    with api({1: [text], 0: [text, text]}) as url:
        found = check_url(url, report=Silent(), timeout=30)
    assert {check.verdict for check in found.checks} == {Verdict.ANSWERED}
    assert found.test_weights


def test_of_the_embedded_model_plain_lines_are_expected_and_its_notice_is_said():
    plain = KNOWN["plain"]["documents"]
    pages = {
        kind: ["\n\n".join(page) for page in plain[name]["pages"]]
        for kind, name in ((1, "image"), (0, "pdf"))
    }
    with api(pages, notice="demo model") as url:
        found = check_url(url, report=Silent(), timeout=30)
    assert found.notice == "demo model"
    assert [check.verdict for check in found.checks] == [Verdict.PASSED, Verdict.PASSED]
    assert {check.measure.what for check in found.checks} == {"characters"}
    pages[0].reverse()
    with api(pages, notice="demo model") as url:
        found = check_url(url, report=Silent(), timeout=30)
    assert [check.verdict for check in found.checks] == [Verdict.PASSED, Verdict.WRONG]


def test_the_embedded_model_is_shown_one_line(fake_docker):
    request = fake_docker([json.dumps({"name": "ocr", "seconds": 0.5, "answer": "A", "cut": False})])
    replace(QUESTIONS, plain=True).ask([Task.OCR], Silent())
    (question,) = json.loads(request.read_text())["questions"]
    assert base64.b64decode(question["png"]) == (DOCUMENTS / "plain-line.png").read_bytes()
    answer = {"seconds": 1.0, "answer": KNOWN["plain"]["tasks"]["ocr"]["text"], "cut": False}
    assert judged(Task.OCR, answer, READS_PLAIN).ok
    assert not judged(Task.OCR, answer, READS).ok


def test_a_page_that_was_not_read_is_named():
    pages = read_pages()
    with api({1: pages[1], 0: [pages[0][0], "nothing of it"]}) as url:
        found = check_url(url, report=Silent(), timeout=30)
    failure = found.failure()
    assert failure is not None
    assert failure.exit_code == 8
    assert "pdf: 100% of the words wrong" in failure.message
    assert "pipeline API, or the VLM server behind it" in failure.message


def test_missing_pages_are_a_failure():
    pages = read_pages()
    with api({1: pages[1], 0: pages[0][:1]}) as url:
        found = check_url(url, report=Silent(), timeout=30)
    assert found.checks[1].verdict is Verdict.FAILED
    assert "pages are missing" in found.checks[1].reason


def test_an_api_that_fails_inside():
    with api(None) as url:
        found = check_url(url, report=Silent(), timeout=30)
    assert {check.verdict for check in found.checks} == {Verdict.FAILED}


# --- which side ---------------------------------------------------------------------------------------------


def _result(*checks: Check) -> Smoke:
    return Smoke(called="cpu", url="http://127.0.0.1:1", model="M", test_weights=(), checks=checks)


def _check(side: Side, *, ok: bool) -> Check:
    verdict = Verdict.PASSED if ok else Verdict.WRONG
    return Check(side=side, name="ocr", verdict=verdict, seconds=1, reason="" if ok else f"the {side} is off")


@pytest.mark.parametrize(
    ("server", "pipeline", "blamed", "service"),
    [
        (False, False, "VLM server", "vlm"),
        (False, True, "VLM server", "vlm"),
        (True, False, "pipeline API", "api"),
    ],
)
def test_the_side_that_is_off(server, pipeline, blamed, service):
    failure = _result(_check(Side.VLM, ok=server), _check(Side.API, ok=pipeline)).failure()
    assert failure is not None
    assert failure.message.startswith(f"cpu: {blamed}: ocr: the {blamed} is off")
    assert f"`paddock logs cpu {service}`" in failure.hint


def test_one_reason_is_told_once():
    checks = [
        Check(side=Side.VLM, name=name, verdict=Verdict.FAILED, seconds=0, reason="gone")
        for name in ("a", "b")
    ]
    failure = _result(*checks).failure()
    assert failure is not None
    assert failure.message == "cpu: VLM server: a, b: gone"


def test_nothing_off():
    assert _result(_check(Side.VLM, ok=True), _check(Side.API, ok=True)).failure() is None
