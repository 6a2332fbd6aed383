"""`paddock smoke` as it is typed; the checks themselves are replaced."""

from __future__ import annotations

import json

import pytest

from paddock.cli.smoke import smoke
from paddock.door import run
from paddock.smoke import check
from paddock.smoke.questions import TIMEOUT
from paddock.smoke.reading import Measure
from paddock.smoke.verdicts import NO_READING, Check, Side, Smoke, Verdict

GOOD = Check(
    side=Side.VLM,
    name="ocr",
    verdict=Verdict.PASSED,
    seconds=1.2345,
    answer="Invoice\n  42",
    measure=Measure(what="characters", share=0.01, limit=0.05),
)
UNREAD = Check(side=Side.API, name="image", verdict=Verdict.ANSWERED, seconds=2.0, reason=NO_READING)
BAD = Check(side=Side.API, name="pdf", verdict=Verdict.FAILED, seconds=0.5, reason="HTTP 500")
URL = "http://127.0.0.1:8080"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was asked of an URL; every second answer has a check that failed."""
    given: list[object] = []

    def check_url(url: str, *, timeout: float, **_others: object) -> Smoke:
        given.append((url, timeout))
        checks = (GOOD, UNREAD) if len(given) == 1 else (GOOD, BAD)
        return Smoke(name=url, url=url, model="", test_weights=(), checks=checks)

    monkeypatch.setattr(check, "check_url", check_url)
    return given


def test_a_table_of_checks(asked: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["smoke", URL, "--timeout", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["SIDE", "VLM", "pipeline", "test"]
    assert "1.23     Invoice 42  1% of the characters wrong, at most 5%" in lines[1]
    assert lines[-1] == NO_READING
    assert asked == [(URL, 5.0)]


def test_json_and_a_failure(asked: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["smoke", URL]) == 0
    capsys.readouterr()
    assert run(["smoke", URL, "--json"]) == 8
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert (record["stack"], record["ok"], record["model"]) == (URL, False, None)
    assert record["checks"][0] == {
        "side": "VLM server",
        "check": "ocr",
        "result": "passed",
        "seconds": 1.234,
        "answer": "Invoice\n  42",
        "share_wrong": 0.01,
        "share_allowed": 0.05,
        "of": "characters",
        "reason": None,
    }
    assert "HTTP 500" in printed.err


@pytest.mark.parametrize("options", ["--offline", "--project x", "--backend vllm"])
def test_a_url_has_no_options_of_a_target(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["smoke", URL, *options.split()]) == 2
    assert "found a URL, expected a TARGET with these" in capsys.readouterr().err


def test_the_default_is_that_of_the_operation() -> None:
    """It is spelt out in the command, which loads the operation only when it runs."""
    assert {parameter.name: parameter.default for parameter in smoke.params}["timeout"] == TIMEOUT
