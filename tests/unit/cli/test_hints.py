"""Hints in real states: what is printed is pasted into a shell, and does what it said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_place import Place, made_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Its path has a blank: whatever a hint names must be quoted."""
    folder = tmp_path / "with a blank"
    folder.mkdir()
    with made_place(folder) as made:
        yield made


def hinted(said: str) -> list[str]:
    """The commands in backticks of the hint."""
    return re.findall("`([^`]+)`", said.partition("\nhint: ")[2])


@pytest.mark.parametrize(
    ("before", "command", "number", "words"),
    [
        ("", "paddock bundle inspect bundle > /dev/full", 0, "Filesystem"),
        ("", "paddock export --image a:1 -o state/installed.json/x --sign key/x", 0, ""),
        ("ulimit -Sn 5", "paddock verify bundle", 0, "all as written"),
        ("", "paddock keys list --file 'new keys/keys'", 0, "NAME"),
        ("", "paddock keys add first --file 'api-keys/keys'", 0, "has the key first now"),
        ("", "paddock trust remove 0123456789ABCDEF", 0, "found no key"),
        ("echo x > state/installed.json", "paddock rollback", 0, "found no import to go back from"),
        ("export PADDOCK_ROOT='a new/root'", "paddock models list", 0, "no weights are here"),
        ("export PADDOCK_ROOT='a new/root'", "paddock models list", 1, "no weights are here"),
        ("export PADDOCK_STATE='~nobody-like-this/x'; unset HOME", "paddock trust list", 0, "nobody-like"),
        ("unset PADDOCK_ROOT; mkdir gone; cd gone; rmdir ../gone", "paddock models list", 0, "are here"),
        ("", "paddock render cpu --check -o 'new render' > /dev/null", 0, "generated files are current"),
    ],
)
def test_a_hint_does_what_it_says(place: Place, before: str, command: str, number: int, words: str) -> None:
    """The command fails; `number` says which of those in the hint is pasted; then it is given once more."""
    said = place.shell(f"{before}\n{command}").stderr
    pasted = hinted(said)[number]
    done = place.shell(f"{before}\n{pasted} || exit 99\n{command}")
    assert done.returncode != 99, done.stderr
    assert words in done.stdout + done.stderr


def test_a_key_with_a_wrong_date_can_be_pinned_again(place: Place) -> None:
    place.shell("paddock trust add key.pub; sed -i '1s/$/ until never/' state/keys/*.pub")
    (pasted,) = hinted(place.shell("paddock trust list").stderr)
    assert "counts" in place.shell(f"{pasted} && paddock trust list").stdout
