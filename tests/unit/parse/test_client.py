"""The client against a real server: health, failures of the API, and what is sent again."""

from __future__ import annotations

import io

import pytest

from paddock.errors import UnhealthyError, UnreachableError, UsageError
from paddock.parse.client import Client
from paddock.parse.document import Document, Kind, inspect
from paddock.parse.wire import ParseOptions
from pipeline_api import Faults, Maker, PipelineApi, failure, parse, quick_client


def test_the_api_refuses_the_document(api: PipelineApi, make: Maker) -> None:
    path = make.data("a.png", make.image("b.png").read_bytes()[:40])
    error = failure(api, path)
    assert isinstance(error, UsageError)
    assert error.message == f"{path}: the pipeline API refused it (422: Invalid input file)"


def test_a_failure_inside_the_api(api: PipelineApi, make: Maker, faults: type[Faults]) -> None:
    api.answer = faults.fails(500, "Internal server error")
    error = failure(api, make.image("a.png"))
    assert isinstance(error, UnhealthyError)
    assert not isinstance(error, UnreachableError)
    assert "the pipeline API failed inside (500: Internal server error)" in error.message
    assert "VLM server" in error.message
    assert "`paddock status`" in error.hint
    assert len(api.requests) == 1  # not sent again


def test_a_failure_while_the_vlm_server_is_down_says_so(
    api: PipelineApi, make: Maker, faults: type[Faults]
) -> None:
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


def test_a_failure_while_the_vlm_server_answers_points_to_the_document(
    api: PipelineApi, make: Maker, faults: type[Faults]
) -> None:
    api.answer = faults.fails(500, "Internal server error")
    api.readiness = {"ready": True, "model": "M", "reason": ""}
    error = failure(api, make.image("a.png"))
    assert "although its VLM server answers: it is this document" in error.message
    assert "`paddock logs`" in error.hint


@pytest.mark.parametrize("said", ["Exception from the 'vlm' worker: Connection error.", "Request timed out."])
def test_the_api_says_that_its_vlm_server_is_gone(
    api: PipelineApi, make: Maker, faults: type[Faults], said: str
) -> None:
    api.answer = faults.fails(500, said)
    error = failure(api, make.image("a.png"))
    assert f"the pipeline API could not reach its VLM server (500: {said})" in error.message
    assert "`paddock logs`" in error.hint


@pytest.mark.parametrize("fault", ["resets", "resets_midway", "ends_short"])
def test_one_broken_connection_is_mended(
    api: PipelineApi, make: Maker, faults: type[Faults], fault: str
) -> None:
    api.next.append(getattr(faults, fault))
    assert len(parse(api, make.image("a.png")).pages) == 1
    assert len(api.requests) == 2
    assert api.health_calls == 1


@pytest.mark.parametrize("fault", ["resets", "resets_midway", "ends_short"])
def test_a_document_that_breaks_every_connection(
    api: PipelineApi, make: Maker, faults: type[Faults], fault: str
) -> None:
    api.answer = getattr(faults, fault)
    error = failure(api, make.image("a.png"))
    assert type(error) is UnhealthyError  # the API is there: other documents may pass
    assert "the connection was cut before the answer was complete" in error.message
    assert "`paddock logs`" in error.hint
    assert len(api.requests) == 3


def test_a_balancer_that_waits_for_its_api(api: PipelineApi, make: Maker, faults: type[Faults]) -> None:
    api.next.extend(
        [faults.says(503, b"<html>no server is available</html>"), faults.fails(502, "bad gateway")]
    )
    assert len(parse(api, make.image("a.png")).pages) == 1
    assert len(api.requests) == 3


def test_an_api_that_dies_and_stays_away(api: PipelineApi, make: Maker) -> None:
    client = quick_client(api.url)
    client.check_health()
    api.stop()
    with pytest.raises(UnreachableError) as caught:
        client.parse(inspect(make.image("a.png")), ParseOptions())
    assert "did not come back within 0 s" in caught.value.message
    assert "`paddock status`" in caught.value.hint


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
def test_another_service_at_that_address(
    api: PipelineApi, make: Maker, faults: type[Faults], status: int, answer: object
) -> None:
    api.answer = faults.says(status, answer)
    error = failure(api, make.image("a.png"))
    assert f"found answer {status}" in error.message
    assert "expected that of a pipeline API" in error.message
    assert "--url" in error.hint


def test_health(api: PipelineApi) -> None:
    client = Client(f"{api.url}/")
    client.check_health()
    assert api.health_calls == 1


def test_a_page_tried_once(api: PipelineApi, make: Maker, faults: type[Faults]) -> None:
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
