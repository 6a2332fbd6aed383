"""The check of a pipeline API by its URL: an image and a PDF are sent, and their pages compared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from paddock.door import run
from paddock.smoke.check import check_url
from paddock.smoke.known import KnownDocument, known_answers
from paddock.smoke.verdicts import Verdict
from paddock.weights.markers import DEFAULT_TEXT
from pipeline_api import PipelineApi
from recording import Recorder

ServeApi = Callable[..., AbstractContextManager[str]]

PDF, IMAGE = 0, 1  # `fileType` of a request


def read_pages() -> dict[int, list[str]]:
    """What a model that reads well makes of our documents."""
    image, pdf = known_answers().documents
    return {
        IMAGE: [" ".join(words) for words in image.pages],
        PDF: [" ".join(words) for words in pdf.pages],
    }


def lines_of(document: KnownDocument) -> list[str]:
    return ["\n\n".join(lines) for lines in document.pages]


def test_a_url_whose_pages_are_read(api: ServeApi, report: Recorder) -> None:
    with api(read_pages()) as url:
        smoke = check_url(url, report=report, timeout=30)
    assert [(check.name, check.verdict) for check in smoke.checks] == [
        ("image", Verdict.PASSED),
        ("pdf", Verdict.PASSED),
    ]
    assert smoke.model == "M"
    assert smoke.failure() is None
    assert "not asked directly" in smoke.left_out


def test_a_url_with_test_weights(api: ServeApi, report: Recorder) -> None:
    text = DEFAULT_TEXT
    with api({IMAGE: [text], PDF: [text, text]}) as url:
        smoke = check_url(url, report=report, timeout=30)
    assert {check.verdict for check in smoke.checks} == {Verdict.ANSWERED}
    assert smoke.test_weights


def test_of_the_embedded_model_plain_lines_are_expected_and_its_notice_is_said(
    api: ServeApi, report: Recorder
) -> None:
    image, pdf = known_answers(plain=True).documents
    pages = {IMAGE: lines_of(image), PDF: lines_of(pdf)}
    with api(pages, notice="demo model") as url:
        smoke = check_url(url, report=report, timeout=30)
    assert smoke.notice == "demo model"
    assert [check.verdict for check in smoke.checks] == [Verdict.PASSED, Verdict.PASSED]
    assert {check.measure.what for check in smoke.checks if check.measure} == {"characters"}
    pages[PDF].reverse()
    with api(pages, notice="demo model") as url:
        smoke = check_url(url, report=report, timeout=30)
    assert [check.verdict for check in smoke.checks] == [Verdict.PASSED, Verdict.WRONG]


def test_a_page_that_was_not_read_is_named(api: ServeApi, report: Recorder) -> None:
    pages = read_pages()
    with api({IMAGE: pages[IMAGE], PDF: [pages[PDF][0], "nothing of it"]}) as url:
        smoke = check_url(url, report=report, timeout=30)
    failure = smoke.failure()
    assert failure is not None
    assert failure.exit_code == 8
    assert "pdf: 100% of the words wrong" in failure.message
    assert "pipeline API, or the VLM server behind it" in failure.message


def test_missing_pages_are_a_failure(api: ServeApi, report: Recorder) -> None:
    pages = read_pages()
    with api({IMAGE: pages[IMAGE], PDF: pages[PDF][:1]}) as url:
        smoke = check_url(url, report=report, timeout=30)
    assert smoke.checks[1].verdict is Verdict.FAILED
    assert "pages are missing" in smoke.checks[1].reason


def test_an_api_that_fails_inside(api: ServeApi, report: Recorder) -> None:
    with api(None) as url:
        smoke = check_url(url, report=report, timeout=30)
    assert {check.verdict for check in smoke.checks} == {Verdict.FAILED}


def test_an_api_that_wants_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = PipelineApi()
    try:
        server.refusal = (401, b"")
        assert run(["smoke", server.url]) == 8
        assert "--key-file FILE" in capsys.readouterr().err
        (tmp_path / "key").write_text("pk_secret_of_mine")
        server.refusal = None
        run(["smoke", server.url, "--key-file", str(tmp_path / "key"), "--json"])
        assert [headers["Authorization"] for headers in server.headers[-2:]] == [
            "Bearer pk_secret_of_mine"
        ] * 2
        printed = capsys.readouterr()
        assert "pk_secret" not in printed.out + printed.err
    finally:
        server.stop()
