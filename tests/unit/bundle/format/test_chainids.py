"""Chain ids, as the OCI image specification defines them."""

from __future__ import annotations

import hashlib

from paddock.bundle.format.chainids import chain_ids

LOWEST, MIDDLE, TOP = ("sha256:" + digit * 64 for digit in "123")


def joined(below: str, diff_id: str) -> str:
    return "sha256:" + hashlib.sha256(f"{below} {diff_id}".encode()).hexdigest()


def test_a_chain_id_names_a_layer_with_all_below_it() -> None:
    assert chain_ids(()) == ()
    assert chain_ids((LOWEST,)) == (LOWEST,)
    second = joined(LOWEST, MIDDLE)
    assert chain_ids((LOWEST, MIDDLE, TOP)) == (LOWEST, second, joined(second, TOP))
