"""Receipts: one way to write one, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.receipt import FORMAT, HeldBundle, HeldImage, HeldLayer, Receipt, parse_receipt
from paddock.errors import BundleError

LAYERS = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)
GOOD = Receipt(
    format=FORMAT,
    tool="0.1.0",
    time="2026-01-01T00:00:00+00:00",
    platform="linux/amd64",
    store="containerd",
    engine="29.0.0",
    driver=None,
    free=-1,
    bundles=(HeldBundle(id="0" * 16, sequence=1, time="2026-01-01T00:00:00+00:00", stack="cpu"),),
    images=(
        HeldImage(id="sha256:" + "3" * 64, references=("a:1",), layers=LAYERS, chains=chain_ids(LAYERS)),
    ),
    layers=(HeldLayer(diff_id=LAYERS[0], blob="sha256:" + "4" * 64), HeldLayer(diff_id=LAYERS[1], blob=None)),
)


def changed(**values: Any) -> bytes:
    return json.dumps({**json.loads(GOOD.to_bytes()), **values}).encode()


def test_what_is_written_is_read_back() -> None:
    assert parse_receipt(GOOD.to_bytes(), where="r") == GOOD


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not a receipt"),
        (b'{"format":"x"}', "is not a receipt"),
        (changed(more=1), "missing or unknown"),
        (changed(free="much"), "expected an integer"),
        (changed(images=[{"id": "i", "references": [], "layers": LAYERS, "chains": LAYERS}]), "chain ids"),
    ],
)
def test_what_is_no_receipt(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        parse_receipt(data, where="r")
