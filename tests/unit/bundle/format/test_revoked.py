"""The list of revoked keys: one way to write it, and each line a key."""

from __future__ import annotations

import pytest

from paddock.bundle.format import signature
from paddock.bundle.format.revoked import parse_revoked, revoked_to_bytes
from paddock.errors import BundleError

ONE, OTHER = (signature.generate().public for _ in range(2))


def test_what_is_written_is_read_back() -> None:
    written = revoked_to_bytes([ONE, OTHER, ONE])
    assert written == revoked_to_bytes([OTHER, ONE])
    assert written.decode().splitlines() == sorted(key.line for key in (ONE, OTHER))
    assert parse_revoked(written, where="it") == {ONE, OTHER}
    assert parse_revoked(b"", where="it") == frozenset()


NO_KEYS = {
    "nothing": "",
    "a letter": "x",
    "cut": ONE.line[:-1],
    "longer": f"{ONE.line} ",
    "an id": ONE.id,
    "another kind": "RUR" + ONE.line[3:],
}


@pytest.mark.parametrize("line", NO_KEYS.values(), ids=NO_KEYS)
def test_a_line_that_is_no_key_is_named(line: str) -> None:
    with pytest.raises(BundleError, match=r"^it: line 2: is no"):
        parse_revoked(f"{OTHER.line}\n{line}\n".encode(), where="it")
