"""Signatures of links and webhooks."""

from __future__ import annotations

import hashlib
import hmac
import stat
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from signing import Links, hook_signature, secret

JOB = "8f8f8f8f-0000-4000-8000-000000000001"


def test_a_link_holds_as_it_is() -> None:
    links = Links(b"k" * 32, 60)
    parts = urlsplit(links.to(JOB, "result.jsonl", links.expiry()))
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert parts.path == f"/api/v2/ocr/results/{JOB}/result.jsonl"
    assert 58 <= int(query["expires"]) - time.time() <= 60
    assert links.holds(JOB, "result.jsonl", query["expires"], query["signature"])
    for changed in (
        (JOB, "page-0001-1.jpg", query["expires"], query["signature"]),
        (JOB[:-1] + "2", "result.jsonl", query["expires"], query["signature"]),
        (JOB, "result.jsonl", query["expires"] + "0", query["signature"]),
        (JOB, "result.jsonl", "", ""),
        (JOB, "result.jsonl", query["expires"], query["signature"] + "="),
        (JOB, "result.jsonl", query["expires"], "\udcff"),
    ):
        assert not links.holds(*changed)
    assert not Links(b"o" * 32, 60).holds(JOB, "result.jsonl", query["expires"], query["signature"])


def test_webhooks_are_signed_with_their_time() -> None:
    digest = hmac.new(b"key", b"17.{}", hashlib.sha256).hexdigest()
    assert hook_signature(b"key", 17, b"{}") == f"t=17,v1={digest}"


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = secret(tmp_path / "key")
    assert len(first) == 32
    assert secret(tmp_path / "key") == first != secret(tmp_path / "other")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "other"]
