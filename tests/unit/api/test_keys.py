"""The file of keys: read again when it changes, and nobody is let in where it cannot be read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from keys import Keys


def line(key: str, name: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()} {name}\n"


def test_names_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n\n" + line("first", "ward-3") + "rubbish\n" + line("second", "archive"))
    keys = Keys(file)
    assert [keys.name_of(key) for key in ("first", "second", "third", "", "first ")] == [
        "ward-3",
        "archive",
        None,
        None,
        None,
    ]


def test_what_a_key_may_at_a_door_is_the_door_s_matter(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(line("first", "chat allow=vlm at-once=4") + line("second", "plain what?"))
    keys = Keys(file)
    assert (keys.name_of("first"), keys.name_of("second")) == ("chat", None)


def test_a_change_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(line("first", "one"))
    keys = Keys(file)
    assert keys.name_of("first") == "one"
    new = tmp_path / "new"
    new.write_text(line("other", "two"))
    new.replace(file)
    assert (keys.name_of("first"), keys.name_of("other")) == (None, "two")


@pytest.mark.parametrize(
    "content", [None, "", "# nothing\n", "sha256:abc one\n", line("first", "a name with blanks")]
)
def test_without_a_key_nobody_is_let_in(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    keys = Keys(file)
    assert keys.name_of("first") is None
    assert keys.name_of("") is None


def test_a_file_that_goes_away_lets_nobody_in_any_more(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(line("first", "one"))
    keys = Keys(file)
    assert keys.name_of("first") == "one"
    file.unlink()
    assert keys.name_of("first") is None
