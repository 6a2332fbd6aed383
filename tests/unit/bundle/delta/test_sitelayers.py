"""What a site is known to have: only bundles and receipts of its platform say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer_files import LayerFiles
from paddock.bundle.delta.sitelayers import open_bases
from paddock.errors import BundleError
from samples.deltas import BEFORE, SYSTEM, WEIGHTS, full, receipt
from small_images import digest


def test_bundles_and_receipts_count_together(tmp_path: Path, workshop: LayerFiles) -> None:
    bundle = full(tmp_path / "before", workshop, SYSTEM, BEFORE)
    sent = receipt(tmp_path / "receipt.json", SYSTEM, WEIGHTS)
    with open_bases([tmp_path / "before", sent], "linux/amd64") as site:
        assert site.layers == {digest(layer) for layer in (SYSTEM, BEFORE, WEIGHTS)}
        assert set(site.described) == site.comparable == {digest(SYSTEM), digest(BEFORE)}
        assert site.bundles == (bundle.id, "0123456789abcdef")
        assert [source.holds(digest(BEFORE)) for source in site.sources] == [True]


@pytest.mark.parametrize(
    ("written", "words"),
    [(b"{}", "is not a receipt"), (b"x", "is not JSON")],
)
def test_what_is_no_base(tmp_path: Path, written: bytes, words: str) -> None:
    (tmp_path / "base").write_bytes(written)
    with pytest.raises(BundleError, match=words), open_bases([tmp_path / "base"], "linux/amd64"):
        pass


def test_another_platform_is_no_base(tmp_path: Path, workshop: LayerFiles) -> None:
    full(tmp_path / "before", workshop, SYSTEM)
    for base in (tmp_path / "before", receipt(tmp_path / "receipt.json", SYSTEM)):
        with pytest.raises(BundleError, match="expected linux/arm64"), open_bases([base], "linux/arm64"):
            pass
