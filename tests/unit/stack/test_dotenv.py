"""How `.env` files are read; tests/proofs/test_dotenv.py asks Compose whether it reads them so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotenv_forms import FORMS, PATH, value_of
from paddock.errors import DataError
from paddock.stack import dotenv


@pytest.mark.parametrize(("form", "expected"), FORMS, ids=lambda value: repr(value)[:40])
def test_every_form_has_its_value(form: bytes, expected: str | None) -> None:
    assert value_of(form) == expected


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_by_their_place(data: bytes) -> None:
    assert dotenv.encoded(dotenv.decoded(data)) == data
    try:
        dotenv.values(dotenv.decoded(data), PATH, {})
    except DataError as refused:
        assert refused.message.startswith(f"{PATH}:{refused.line}:{refused.column}: ")


def test_a_refusal_says_where(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# c\nB=1\nA='x\n")
    with pytest.raises(DataError, match=r"\.env:3:3: found no closing ', expected one") as refused:
        dotenv.values_in(tmp_path / ".env", {})
    assert "line 3" in refused.value.hint
    assert dotenv.values_in(tmp_path / "absent", {}) == {}
