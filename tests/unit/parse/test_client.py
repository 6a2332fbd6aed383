"""The client against a real server: requests, answers, and every way in which a server can fail."""

from __future__ import annotations

import base64
import hashlib
import io
import socket
import threading

import pytest

from paddock.errors import Interrupted, PaddockError, UnhealthyError, UnreachableError, UsageError
from paddock.parse.client import Client
from paddock.parse.document import Document, Kind, inspect
from paddock.parse.wire import ParsedDocument, ParseOptions

IMAGE_NAME = "imgs/img_in_image_box_1_2_3_4.jpg"
QUICK = {"timeout": 60.0, "pause": 0.01, "patience": 0.3}


def parse(api, path, options: ParseOptions | None = None, **settings: float) -> ParsedDocument:
    client = Client(api.url, **{**QUICK, **settings})
    return client.parse(inspect(path), options or ParseOptions())


def failure(api, path, **settings: float) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        parse(api, path, **settings)
    return caught.value


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("extra", [0, 1, 2, 3 * 256 * 1024, 3 * 256 * 1024 + 1])
def test_the_bytes_arrive_whole(api, make, extra):
    data = make.image("a.png").read_bytes() + bytes(extra)
    path = make.data("a.png", data)
    parsed = parse(api, path)
    (request,) = api.requests
    assert base64.b64decode(request.pop("file"), validate=True) == data
    assert request == {"fileType": 1, "visualize": True, "restructurePages": False}
    assert parsed.sha256 == hashlib.sha256(data).hexdigest()


def test_a_page_has_its_text_images_and_pictures(api, make):
    (page,) = parse(api, make.image("a.png")).pages
    assert page.markdown.startswith("# Page 1\n")
    assert list(page.images) == [IMAGE_NAME]
    assert page.images[IMAGE_NAME].startswith(b"\xff\xd8\xff")
    assert list(page.pictures) == ["layout_det_res"]
    assert page.result["parsing_res_list"] == [{"block_id": 0}]


def test_options_reach_the_request(api, make):
    (page,) = parse(api, make.image("a.png"), ParseOptions(pictures=False, restructure=True)).pages
    assert page.pictures == {}
    assert api.requests[0]["restructurePages"] is True
    assert api.requests[0]["visualize"] is False


def test_every_page_of_a_long_pdf_and_tiff(api, make):
    pdf = parse(api, make.pdf("a.pdf", pages=11))
    assert [page.markdown.split("\n")[0] for page in pdf.pages] == [f"# Page {n}" for n in range(1, 12)]
    assert pdf.info["numPages"] == 11
    assert api.requests[0]["fileType"] == 0
    assert len(parse(api, make.tiff("a.tif", pages=12)).pages) == 12
    assert api.requests[1]["fileType"] == 1


@pytest.mark.parametrize("name", ["a.pdf", "a.tif"])
def test_an_api_that_drops_pages_is_found_out(api, make, name):
    api.page_limit = 10
    path = make.pdf(name, pages=11) if name == "a.pdf" else make.tiff(name, pages=11)
    error = failure(api, path)
    assert isinstance(error, UnhealthyError)
    assert f"{path}: pages are missing" in error.message
    assert "found 10, expected 11" in error.message
    assert "max_num_input_imgs" in error.hint
    assert len(api.requests) == 1


def test_fewer_pages_than_the_api_itself_counted(api, make, faults):
    entry = api.page(1, pictures=False)
    info = {"type": "pdf", "numPages": 2, "pages": []}
    result = {"layoutParsingResults": [entry], "dataInfo": info}
    api.answer = faults.says(200, {"errorCode": 0, "errorMsg": "Success", "result": result})
    assert "found 1, expected 2" in failure(api, make.image("a.png")).message


def test_the_api_refuses_the_document(api, make):
    path = make.data("a.png", make.image("b.png").read_bytes()[:40])
    error = failure(api, path)
    assert isinstance(error, UsageError)
    assert error.message == f"{path}: the pipeline API refused it (422: Invalid input file)"


def test_schema_errors_become_words(api, make, faults):
    said = '[{"type": "int_type", "loc": "body.maxPixels", "msg": "Input should be a valid integer"}]'
    api.answer = faults.fails(422, said)
    assert failure(api, make.image("a.png")).message.endswith(
        "(422: body.maxPixels: Input should be a valid integer)"
    )


def test_a_failure_inside_the_api(api, make, faults):
    api.answer = faults.fails(500, "Internal server error")
    error = failure(api, make.image("a.png"))
    assert isinstance(error, UnhealthyError)
    assert not isinstance(error, UnreachableError)
    assert "the pipeline API failed inside (500: Internal server error)" in error.message
    assert "VLM server" in error.message
    assert "`paddock status`" in error.hint
    assert len(api.requests) == 1  # not sent again


def test_a_failure_while_the_vlm_server_is_down_says_so(api, make, faults):
    api.answer = faults.fails(500, "Internal server error")
    api.readiness = {
        "ready": False,
        "model": "M",
        "reason": "the VLM server does not answer at http://vlm:8080",
    }
    error = failure(api, make.image("a.png"))
    assert error.message.endswith(
        "(500: Internal server error): the VLM server does not answer at http://vlm:8080"
    )


def test_a_failure_while_the_vlm_server_answers_points_to_the_document(api, make, faults):
    api.answer = faults.fails(500, "Internal server error")
    api.readiness = {"ready": True, "model": "M", "reason": ""}
    error = failure(api, make.image("a.png"))
    assert "although its VLM server answers: it is this document" in error.message
    assert "`paddock logs`" in error.hint


@pytest.mark.parametrize("said", ["Exception from the 'vlm' worker: Connection error.", "Request timed out."])
def test_the_api_says_that_its_vlm_server_is_gone(api, make, faults, said):
    api.answer = faults.fails(500, said)
    error = failure(api, make.image("a.png"))
    assert f"the pipeline API could not reach its VLM server (500: {said})" in error.message
    assert "`paddock logs`" in error.hint


@pytest.mark.parametrize("fault", ["resets", "resets_midway", "ends_short"])
def test_one_broken_connection_is_mended(api, make, faults, fault):
    api.next.append(getattr(faults, fault))
    assert len(parse(api, make.image("a.png")).pages) == 1
    assert len(api.requests) == 2
    assert api.health_calls == 1


@pytest.mark.parametrize("fault", ["resets", "resets_midway", "ends_short"])
def test_a_document_that_breaks_every_connection(api, make, faults, fault):
    api.answer = getattr(faults, fault)
    error = failure(api, make.image("a.png"))
    assert type(error) is UnhealthyError  # the API is there: other documents may pass
    assert "the connection was cut before the answer was complete" in error.message
    assert "`paddock logs`" in error.hint
    assert len(api.requests) == 3


def test_a_balancer_that_waits_for_its_api(api, make, faults):
    api.next.extend(
        [faults.says(503, b"<html>no server is available</html>"), faults.fails(502, "bad gateway")]
    )
    assert len(parse(api, make.image("a.png")).pages) == 1
    assert len(api.requests) == 3


def test_an_api_that_dies_and_stays_away(api, make):
    client = Client(api.url, **QUICK)
    client.check_health()
    api.stop()
    with pytest.raises(UnreachableError) as caught:
        client.parse(inspect(make.image("a.png")), ParseOptions())
    assert "did not come back within 0 s" in caught.value.message
    assert "`paddock status`" in caught.value.hint


def test_nobody_listens(make):
    url = f"http://127.0.0.1:{free_port()}"
    client = Client(url, timeout=60)
    with pytest.raises(UnreachableError) as caught:
        client.parse(inspect(make.image("a.png")), ParseOptions())
    assert caught.value.message == f"{url}: no pipeline API answers there: Connection refused"
    assert "`paddock up`" in caught.value.hint


def test_a_slow_server(api, make):
    api.answer = api.hold
    error = failure(api, make.image("a.png"), timeout=0.2)
    assert error.message == f"{api.url}: no answer within 0.2 s"
    assert "--timeout" in error.hint
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, {"detail": "Not Found"}),
        (200, b"<html>hello</html>"),
        (200, [1]),
        (302, {}),
        (200, {"object": "list"}),
    ],
)
def test_another_service_at_that_address(api, make, faults, status, answer):
    api.answer = faults.says(status, answer)
    error = failure(api, make.image("a.png"))
    assert f"found answer {status}" in error.message
    assert "expected that of a pipeline API" in error.message
    assert "--url" in error.hint


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        ([], "result: found list, expected dict"),
        ({"layoutParsingResults": [], "dataInfo": None}, "dataInfo: found NoneType"),
        ({"layoutParsingResults": ["page"], "dataInfo": {}}, "something else than pages"),
        ({"layoutParsingResults": [{"prunedResult": {}}], "dataInfo": {}}, "markdown: found NoneType"),
        (
            {"layoutParsingResults": [{"markdown": {"text": "", "images": {"a": "%"}}}], "dataInfo": {}},
            "page 1: images 'a'",
        ),
        (
            {
                "layoutParsingResults": [{"markdown": {"text": "", "images": {"a": "http://h/a"}}}],
                "dataInfo": {},
            },
            "found a link, expected base64",
        ),
    ],
)
def test_an_answer_that_does_not_fit(api, make, faults, result, complaint):
    api.answer = faults.says(200, {"errorCode": 0, "result": result})
    error = failure(api, make.image("a.png"))
    assert isinstance(error, UnhealthyError)
    assert complaint in error.message


def test_no_pages_at_all(api, make, faults):
    api.answer = faults.says(200, {"errorCode": 0, "result": {"layoutParsingResults": [], "dataInfo": {}}})
    assert "found 0, expected 1" in failure(api, make.image("a.png")).message


@pytest.mark.parametrize("delta", [-1, 1])
def test_a_file_that_changes_while_it_is_sent(api, make, delta):
    data = make.image("a.png").read_bytes()
    changed = Document(
        name="a.png", kind=Kind.PNG, size=len(data) + delta, pages=1, open=lambda: io.BytesIO(data)
    )
    client = Client(api.url, **QUICK)
    with pytest.raises(UsageError, match=r"a\.png: changed while it was sent"):
        client.parse(changed, ParseOptions())
    assert api.requests == []


def test_a_file_that_vanishes_before_it_is_sent(api, make):
    path = make.image("a.png")
    document = inspect(path)
    path.unlink()
    client = Client(api.url, **QUICK)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        client.parse(document, ParseOptions())


def test_abort_ends_a_wait_in_another_thread(api, make):
    api.answer = api.hold
    caught: list[BaseException] = []

    def work() -> None:
        try:
            client.parse(document, ParseOptions())
        except PaddockError as error:
            caught.append(error)

    document = inspect(make.image("a.png"))
    client = Client(api.url, **QUICK)
    worker = threading.Thread(target=work)
    worker.start()
    assert api.received.acquire(timeout=30)
    client.abort()
    worker.join(30)
    assert not worker.is_alive()
    assert isinstance(caught[0], Interrupted)
    with pytest.raises(Interrupted):  # and nothing starts after it
        client.parse(document, ParseOptions())


def test_a_proxy_is_not_asked_about_this_machine(api, make, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert len(parse(api, make.image("a.png")).pages) == 1


def test_a_proxy_that_does_not_answer_is_named(make, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = Client("http://pipeline.invalid", timeout=60)
    with pytest.raises(UnreachableError) as caught:
        client.check_health()
    assert "the proxy did not connect" in caught.value.message
    assert "NO_PROXY" in caught.value.hint


def test_health(api):
    client = Client(f"{api.url}/")
    client.check_health()
    assert api.health_calls == 1


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://host", "http://", "http://host:port", "", "http://h:99999"]
)
def test_not_a_url(url):
    with pytest.raises(UsageError):
        Client(url)


def test_a_password_in_the_url_is_not_shown():
    client = Client("http://me:secret@[::1]:8080/api/")
    assert client.url == "http://[::1]:8080/api"


def test_a_page_tried_once(api, make, faults):
    """As `paddock up` sends its first page."""
    png = make.image("a.png").read_bytes()
    page = Document(name="first page", kind=Kind.PNG, size=len(png), pages=1, open=lambda: io.BytesIO(png))
    client, options = Client(api.url, timeout=60, resends=0), ParseOptions(pictures=False)
    assert client.parse(page, options).pages[0].markdown.startswith("# Page 1")
    assert api.requests[0]["visualize"] is False
    api.answer = faults.resets
    with pytest.raises(UnhealthyError):
        client.parse(page, options)
    assert len(api.requests) == 2  # once each: who calls decides
