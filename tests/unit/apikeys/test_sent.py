"""The key that a client sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.apikeys import sent
from paddock.errors import UsageError

KEY = "pk_" + "A" * 43


def test_the_first_line_is_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\r\n\n")
    path.chmod(0o600)
    found = sent.read(path)
    assert (found.key, found.warning) == (KEY, "")
    assert KEY not in repr(found)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_others_can_read_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(mode)
    assert sent.read(path).warning.endswith(f"`chmod 600 {path}`")


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", f"{KEY} x".encode(), f"{KEY}\n{KEY}".encode(), b"pk_\xff\xff\xff\xff\xff\xff", b"a" * 5000],
)
def test_what_is_no_key_is_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="expected one line with an API key") as refused:
        sent.read(path)
    assert "pk_" not in refused.value.message + refused.value.hint


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        sent.read(tmp_path / "key")
