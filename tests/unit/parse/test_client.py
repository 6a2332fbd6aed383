"""The client against a real server: health, failures of the API, and what is sent again."""

from __future__ import annotations

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from paddock.errors import Interrupted, UnhealthyError, UnknownClientError, UnreachableError, UsageError
from paddock.parse.client import Client
from paddock.parse.document import Document, Kind, inspect
from paddock.parse.wire import ParseOptions
from pipeline_api import Answer, Faults, Maker, PipelineApi, failure, parse, quick_client


def test_the_api_refuses_the_document(api: PipelineApi, make: Maker, faults: type[Faults]) -> None:
    path = make.image("a.png")
    api.answer = faults.fails(422, "Invalid input file")
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


def test_a_failure_while_the_vlm_server_answers_points_to_the_document(
    api: PipelineApi, make: Maker, faults: type[Faults]
) -> None:
    """Once more it is sent: a server that restarted may be back by the time it is asked about."""
    api.answer = faults.fails(500, "Internal server error")
    api.readiness = {"ready": True, "model": "M", "reason": ""}
    error = failure(api, make.image("a.png"))
    assert "although its VLM server answers: it is this document" in error.message
    assert "`paddock logs TARGET`" in error.hint
    assert len(api.requests) == 2


@pytest.mark.parametrize("said", ["Exception from the 'vlm' worker: Connection error.", "Request timed out."])
def test_the_api_says_that_its_vlm_server_is_gone(
    api: PipelineApi, make: Maker, faults: type[Faults], said: str
) -> None:
    """An API that cannot be asked when that is back."""
    api.answer = faults.fails(500, said)
    error = failure(api, make.image("a.png"), timeout=1.0)
    assert f"the pipeline API could not reach its VLM server (500: {said})" in error.message
    assert "`paddock logs TARGET`" in error.hint
    gone = "Connection" in said
    assert isinstance(error, UnreachableError) is gone  # then the others need not be sent
    assert (len(api.requests) > 1) is gone


# --- a VLM server that restarts -----------------------------------------------------------------------------

AWAY = {"ready": False, "model": "M", "reason": "the VLM server does not answer at http://vlm:8080"}
THERE = {"ready": True, "model": "M", "reason": ""}


@pytest.mark.parametrize("how", ["500", "503", "a reset"])
def test_a_vlm_server_that_restarts_is_waited_for(
    api: PipelineApi, make: Maker, faults: type[Faults], how: str
) -> None:
    """Longer than an API is waited for that does not answer itself, and said once, by however many wait."""
    fault = {
        "500": faults.fails(500, "Internal server error"),
        "503": faults.says(503, b"no server is available"),
        "a reset": faults.resets,
    }[how]
    said: list[str] = []
    api.readiness = AWAY
    api.next.extend([fault, fault])
    client = Client(api.url, timeout=60, pause=0.01, patience=0.1, say=said.append)
    document = inspect(make.image("a.png"))
    threading.Timer(0.5, lambda: setattr(api, "readiness", THERE)).start()
    with ThreadPoolExecutor(2) as pool:
        parsed = [pool.submit(client.parse, document, ParseOptions()) for _ in range(2)]
        assert [future.result().problems for future in parsed] == [(), ()]
    assert said == [f"{api.url}: the VLM server does not answer at http://vlm:8080; waiting for it"]
    assert len(api.requests) == 4


def test_a_vlm_server_that_stays_away_ends_the_wait_with_the_time_of_the_document(
    api: PipelineApi, make: Maker, faults: type[Faults]
) -> None:
    api.answer, api.readiness = faults.fails(500, "Internal server error"), AWAY
    error = failure(api, make.image("a.png"), timeout=0.5)
    assert isinstance(error, UnreachableError)
    assert error.message.endswith(
        "is not ready after 0.5 s: the VLM server does not answer at http://vlm:8080"
    )
    assert "`paddock status`" in error.hint
    assert len(api.requests) == 1


def test_abort_ends_the_wait_for_a_vlm_server(api: PipelineApi, make: Maker, faults: type[Faults]) -> None:
    api.answer, api.readiness = faults.fails(500, "Internal server error"), AWAY
    client = Client(api.url, timeout=60, pause=0.01, say=lambda _message: client.abort())
    with pytest.raises(Interrupted):
        client.parse(inspect(make.image("a.png")), ParseOptions())


# --- connections that break ---------------------------------------------------------------------------------


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
    assert "`paddock logs TARGET`" in error.hint
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


# --- an API that is busy ------------------------------------------------------------------------------------


def busy(seconds: str, *, status: int = 503) -> Answer:
    """As an API answers that works on as many documents as it can."""
    data = json.dumps({"errorCode": status, "errorMsg": "16 requests are open"}).encode()
    return lambda handler, _request: handler.write(status, data, Retry_After=seconds)


@pytest.mark.parametrize("seconds", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_an_api_that_is_busy_is_asked_again_as_often_as_it_takes(
    api: PipelineApi, make: Maker, seconds: str
) -> None:
    api.next.extend([busy(seconds), busy(seconds, status=429), *[busy(seconds)] * 4])
    assert len(parse(api, make.image("a.png")).pages) == 1
    assert len(api.requests) == 7
    assert api.health_calls == 0  # it said that it is there


def test_the_pause_is_the_one_that_was_asked_for(api: PipelineApi, make: Maker) -> None:
    api.next.append(busy("1"))
    began = time.monotonic()
    assert len(parse(api, make.image("a.png")).pages) == 1
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("seconds", ["3600", "9" * 400])
def test_a_pause_longer_than_the_time_is_not_made(api: PipelineApi, make: Maker, seconds: str) -> None:
    api.answer = busy(seconds)
    error = failure(api, make.image("a.png"))
    assert "answered 503 (16 requests are open) until the time for this document was over" in error.message
    assert "--jobs" in error.hint
    assert len(api.requests) == 1


@pytest.mark.parametrize("seconds", ["soon", "-1", "", "Wed, 21 Oct 2015 07:28:00"])
def test_a_pause_that_is_none_is_a_failure_like_others(api: PipelineApi, make: Maker, seconds: str) -> None:
    api.answer = busy(seconds)
    assert "answered 503 (16 requests are open)" in failure(api, make.image("a.png")).message
    assert len(api.requests) == 3


def test_resending_ends_with_the_time_of_the_document(
    api: PipelineApi, make: Maker, faults: type[Faults]
) -> None:
    """Each attempt takes what is left, not all of it anew."""
    api.next.extend([busy("3"), faults.drips])
    began = time.monotonic()
    assert "no answer within 4 s" in failure(api, make.image("a.png"), timeout=4.0).message
    assert time.monotonic() - began < 6.5


def test_an_api_that_was_too_slow_is_not_asked_again(
    api: PipelineApi, make: Maker, faults: type[Faults]
) -> None:
    api.answer = faults.fails(504, "it was not done within 600 s (API_MAX_SECONDS)")
    assert "(it was not done within 600 s (API_MAX_SECONDS))" in failure(api, make.image("a.png")).message
    assert len(api.requests) == 1


# --- keys ---------------------------------------------------------------------------------------------------

KEY = "pk_" + "A" * 43


def test_a_key_goes_with_every_request_and_is_shown_nowhere(api: PipelineApi, make: Maker) -> None:
    document = inspect(make.image("a.png"))
    Client(api.url, key=KEY, timeout=60).parse(document, ParseOptions())
    assert api.headers[0]["Authorization"] == f"Bearer {KEY}"
    api.refusal = (401, json.dumps({"errorCode": 401, "errorMsg": "this key is not known here"}).encode())
    with pytest.raises(UnknownClientError) as caught:
        Client(api.url, key=KEY, timeout=60).parse(document, ParseOptions())
    assert "does not know this API key (answer 401 (this key is not known here))" in caught.value.message
    assert "PADDOCK_KEY_FILE" in caught.value.hint
    assert KEY not in caught.value.message + caught.value.hint


def test_an_api_that_wants_a_key(api: PipelineApi, make: Maker) -> None:
    api.refusal = (401, b"")
    error = failure(api, make.image("a.png"))
    assert "the pipeline API wants an API key (answer 401 (Unauthorized))" in error.message
    assert "`paddock keys add NAME`" in error.hint
    assert "--key-file FILE" in error.hint


def test_a_key_that_may_not_do_this(api: PipelineApi, make: Maker) -> None:
    api.refusal = (403, b"")
    with pytest.raises(UnknownClientError, match="refuses this request"):
        Client(api.url, key=KEY).parse(inspect(make.image("a.png")), ParseOptions())
