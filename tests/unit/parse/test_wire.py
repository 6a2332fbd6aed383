"""What goes over the wire: the body of a request, and the strict reading of an answer."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

import pytest

from paddock.errors import UnhealthyError, UsageError
from paddock.parse.document import Document, Kind, inspect
from paddock.parse.wire import ParseOptions
from pipeline_api import IMAGE_NAME, Answer, Faults, Maker, PipelineApi, failure, jpeg, parse, quick_client


@pytest.mark.parametrize("extra", [0, 1, 2, 3 * 256 * 1024, 3 * 256 * 1024 + 1])
def test_the_bytes_arrive_whole(api: PipelineApi, make: Maker, extra: int) -> None:
    data = make.image("a.png").read_bytes() + bytes(extra)
    path = make.data("a.png", data)
    parsed = parse(api, path)
    (request,) = api.requests
    assert base64.b64decode(request.pop("file"), validate=True) == data
    assert request == {"fileType": 1, "visualize": True, "restructurePages": False}
    assert parsed.sha256 == hashlib.sha256(data).hexdigest()


def test_a_page_has_its_text_images_and_pictures(api: PipelineApi, make: Maker) -> None:
    (page,) = parse(api, make.image("a.png")).pages
    assert page.markdown.startswith("# Page 1\n")
    assert list(page.images) == [IMAGE_NAME]
    assert page.images[IMAGE_NAME].read() == jpeg(1)
    assert list(page.pictures) == ["layout_det_res"]
    assert page.result["parsing_res_list"] == [{"block_id": 0}]


def test_options_reach_the_request(api: PipelineApi, make: Maker) -> None:
    (page,) = parse(api, make.image("a.png"), ParseOptions(pictures=False, restructure=True)).pages
    assert page.pictures == {}
    assert api.requests[0]["restructurePages"] is True
    assert api.requests[0]["visualize"] is False


def test_every_page_of_a_long_pdf_and_tiff(api: PipelineApi, make: Maker) -> None:
    pdf = parse(api, make.pdf("a.pdf", pages=11))
    assert [page.markdown.split("\n")[0] for page in pdf.pages] == [f"# Page {n}" for n in range(1, 12)]
    assert pdf.info["numPages"] == 11
    assert api.requests[0]["fileType"] == 0
    assert len(parse(api, make.tiff("a.tif", pages=12)).pages) == 12
    assert api.requests[1]["fileType"] == 1


@pytest.mark.parametrize("name", ["a.pdf", "a.tif"])
def test_an_api_that_drops_pages_is_found_out(api: PipelineApi, make: Maker, name: str) -> None:
    api.page_limit = 10
    path = make.pdf(name, pages=11) if name == "a.pdf" else make.tiff(name, pages=11)
    error = failure(api, path)
    assert isinstance(error, UnhealthyError)
    assert f"{path}: pages are missing" in error.message
    assert "found 10, expected 11" in error.message
    assert "max_num_input_imgs" in error.hint
    assert len(api.requests) == 1


def test_fewer_pages_than_the_api_itself_counted(api: PipelineApi, make: Maker, faults: type[Faults]) -> None:
    entry = api.page(1, pictures=False)
    info = {"type": "pdf", "numPages": 2, "pages": []}
    result = {"layoutParsingResults": [entry], "dataInfo": info}
    api.answer = faults.says(200, {"errorCode": 0, "errorMsg": "Success", "result": result})
    assert "found 1, expected 2" in failure(api, make.image("a.png")).message


def test_schema_errors_become_words(api: PipelineApi, make: Maker, faults: type[Faults]) -> None:
    said = '[{"type": "int_type", "loc": "body.maxPixels", "msg": "Input should be a valid integer"}]'
    api.answer = faults.fails(422, said)
    assert failure(api, make.image("a.png")).message.endswith(
        "(422: body.maxPixels: Input should be a valid integer)"
    )


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        ([], "result: found list, expected dict"),
        ({"layoutParsingResults": [], "dataInfo": None}, "dataInfo: found NoneType"),
        ({"layoutParsingResults": ["page"], "dataInfo": {}}, "an entry of layoutParsingResults: found str"),
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
def test_an_answer_that_does_not_fit(
    api: PipelineApi, make: Maker, faults: type[Faults], result: object, complaint: str
) -> None:
    api.answer = faults.says(200, {"errorCode": 0, "result": result})
    error = failure(api, make.image("a.png"))
    assert isinstance(error, UnhealthyError)
    assert complaint in error.message


def answers(*pages: dict[str, Any], judged: bool = True) -> Answer:
    """An answer of these pages; `judged` as paddock's API sends it."""
    result = {"layoutParsingResults": list(pages), "dataInfo": {"type": "pdf"}}
    data = json.dumps({"errorCode": 0, "errorMsg": "Success", "result": result}).encode()
    if judged:
        return lambda handler, _request: handler.write(200, data, X_Paddock_Pages="judged")
    return lambda handler, _request: handler.write(200, data)


def page(api: PipelineApi, text: str, *problems: dict[str, str]) -> dict[str, Any]:
    entry = api.page(1, pictures=False)
    entry["markdown"] = {"text": text, "images": {}}
    return entry | ({"problems": list(problems)} if problems else {})


def test_what_the_api_says_of_its_pages(api: PipelineApi, make: Maker) -> None:
    cut = {"kind": "cut-short", "severity": "warning", "message": "it stopped at its limit"}
    api.answer = answers(page(api, ""), page(api, "so so " * 300, cut))
    parsed = parse(api, make.pdf("a.pdf", pages=2))
    assert [str(problem) for problem in parsed.problems] == ["page 2: it stopped at its limit"]
    assert [len(one.problems) for one in parsed.pages] == [0, 1]


def test_pages_that_the_api_does_not_judge(api: PipelineApi, make: Maker) -> None:
    api.answer = answers(page(api, "good"), page(api, " \n"), page(api, "so so " * 300), judged=False)
    parsed = parse(api, make.pdf("a.pdf", pages=3))
    assert [str(problem) for problem in parsed.problems] == [
        "page 2: no text came back; the page may be blank",
        "page 3: its text repeats itself without end",
    ]


def test_more_pages_than_the_document_has(api: PipelineApi, make: Maker) -> None:
    api.answer = answers(page(api, "one"), page(api, "two"))
    (problem,) = parse(api, make.image("a.png")).problems
    assert str(problem) == "found 2 pages in the answer, expected 1"


def test_problems_that_are_none(api: PipelineApi, make: Maker) -> None:
    api.answer = answers(page(api, "one") | {"problems": None})
    assert parse(api, make.image("a.png")).problems == ()
    api.answer = answers(page(api, "one") | {"problems": "many"})
    assert "problems: found str, expected list" in failure(api, make.image("a.png")).message


def test_no_pages_at_all(api: PipelineApi, make: Maker, faults: type[Faults]) -> None:
    api.answer = faults.says(200, {"errorCode": 0, "result": {"layoutParsingResults": [], "dataInfo": {}}})
    assert "found 0, expected 1" in failure(api, make.image("a.png")).message


@pytest.mark.parametrize("delta", [-1, 1])
def test_a_file_that_changes_while_it_is_sent(api: PipelineApi, make: Maker, delta: int) -> None:
    data = make.image("a.png").read_bytes()
    changed = Document(
        name="a.png", kind=Kind.PNG, size=len(data) + delta, pages=1, open=lambda: io.BytesIO(data)
    )
    client = quick_client(api.url)
    with pytest.raises(UsageError, match=r"a\.png: changed while it was sent"):
        client.parse(changed, ParseOptions())
    assert api.requests == []


def test_a_file_that_vanishes_before_it_is_sent(api: PipelineApi, make: Maker) -> None:
    path = make.image("a.png")
    document = inspect(path)
    path.unlink()
    client = quick_client(api.url)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        client.parse(document, ParseOptions())
