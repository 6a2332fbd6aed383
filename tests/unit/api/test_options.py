"""Bodies of requests: what is taken out, what is refused, what is brought within the model's limits."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import options
from limits import MAX_NEW_TOKENS, MOST_PIXELS, Refusal

LARGE = base64.b64encode(bytes(range(256)) * 40).decode()


def refused(status: int, body: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        options.read_json(body)
    assert caught.value.status == status
    return caught.value.reason


@pytest.mark.parametrize(
    "file",
    [LARGE, "short", "", LARGE[:4096], LARGE[:4095], "\r\n".join([LARGE] * 3), "data:x/y;base64," + LARGE],
)
def test_strings_come_back_as_they_were(file: str) -> None:
    read = options.read_json(json.dumps({"file": file, "pages": [{"a": file}], "n": 1}).encode())
    assert options.with_texts(read) == {"file": file, "pages": [{"a": file}], "n": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"nul",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b'{"\\u0000": 7}',
        b'{"\\u0000": "x"}',
        b'{"file": "' + b"A" * 5000,
        b'{"' + b"A" * 5000 + b'": 1}',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a": ' + b"9" * 100_000 + b"}",
    ],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    refused(422, body)


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"",', b"0,"])
def test_small_values_without_number_are_refused_before_they_are_made(piece: bytes) -> None:
    assert "values of JSON" in refused(413, b'{"a":[' + piece * 1_000_001 + b"0]}")


def test_much_json_is_refused_before_it_is_read() -> None:
    refused(413, b'{"a":"' + b"\xc3\xa4" * 9_000_000 + b'"}')


@pytest.mark.parametrize(
    "text", [LARGE, LARGE.rstrip("="), "data:application/pdf;base64," + LARGE, LARGE[:76] + "\n" + LARGE[76:]]
)
def test_base64_in_all_its_forms(text: str) -> None:
    value = options.read_json(json.dumps({"file": text}).encode())["file"]
    assert options.bytes_of(value, "file", 10**6) == bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("value", "most", "status"),
    [
        ("€", 9, 422),
        ("a*b=", 9, 422),
        ("AAAAA", 9, 422),
        ("A" * 24, 9, 413),
        ("AAAAAAAAAAAA", 8, 413),
        (7, 9, 422),
        (None, 9, 422),
    ],
)
def test_what_is_no_base64_or_too_long_is_refused(value: Any, most: int, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        options.bytes_of(value, "file", most)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"maxNewTokens": 10**9}, {"maxNewTokens": MAX_NEW_TOKENS}),
        ({"minPixels": 10**9, "maxPixels": 10**12}, {"minPixels": 451_584, "maxPixels": MOST_PIXELS}),
        ({"minPixels": 10**9}, {"minPixels": 451_584}),
        ({"maxPixels": 1}, {"maxPixels": 784}),
        (
            {"vlmExtraArgs": {"ocr_max_pixels": 10**12, "ocr_min_pixels": 10**11}},
            {"vlmExtraArgs": {"ocr_max_pixels": MOST_PIXELS, "ocr_min_pixels": 451_584}},
        ),
        ({"vlmExtraArgs": {"table_min_pixels": 10**7}}, {"vlmExtraArgs": {"table_min_pixels": 451_584}}),
        ({"layoutThreshold": {"3": 0.5}}, {"layoutThreshold": {3: 0.5}}),
        ({"layoutUnclipRatio": [1, 2.5]}, {"layoutUnclipRatio": (1, 2.5)}),
        ({"layoutUnclipRatio": 1.5}, {"layoutUnclipRatio": 1.5}),
        ({"layoutMergeBboxesMode": {"1": "large"}}, {"layoutMergeBboxesMode": {1: "large"}}),
    ],
)
def test_what_sizes_the_models_work_is_brought_within_its_limits(
    given: dict[str, Any], made: dict[str, Any]
) -> None:
    assert options.within_limits(given) == {"vlmExtraArgs": {}, **made}


@pytest.mark.parametrize(
    "given",
    [
        {"vlmExtraArgs": {"logits_processors": ["os.system"]}},
        {"vlmExtraArgs": {"ocr_max_pixels": True}},
        {"vlmExtraArgs": {"ocr_max_pixels": -1}},
        {"vlmExtraArgs": {"ocr_max_pixels": [1]}},
        {"temperature": 3.0},
        {"temperature": float("inf")},
        {"topP": 1.5},
        {"repetitionPenalty": 1e300},
        {"layoutThreshold": {"a": 0.5}},
        {"layoutThreshold": {"3": 2}},
        {"layoutThreshold": float("nan")},
        {"layoutUnclipRatio": 1e9},
        {"layoutUnclipRatio": [1]},
        {"layoutUnclipRatio": [0, 1]},
        {"layoutUnclipRatio": {"99": 1}},
        {"markdownIgnoreLabels": ["x"] * 1000},
        {"markdownIgnoreLabels": ["x" * 1000]},
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        options.within_limits(given)
    assert caught.value.status == 422
    assert len(caught.value.reason) < 400


@pytest.mark.parametrize("given", [7, {}, [], True, "x" * 300, "a\nb", "\x1b[2J"])
def test_a_log_id_is_a_short_line(given: Any) -> None:
    with pytest.raises(Refusal):
        options.log_id_of({"logId": given})


def test_a_log_id_is_made_or_kept() -> None:
    assert options.log_id_of({"logId": "my-1"}) == "my-1"
    assert len(options.log_id_of({})) == 36
