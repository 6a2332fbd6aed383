"""`paddock import`, `receipt` and `rollback` as they are typed: what is refused, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.bundle.site import rollback
from paddock.bundle.site.rollback import RolledBack
from paddock.door import run
from samples import bundles


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("import", 2, "DIR: found none, expected the folder of a bundle"),
        ("import --abandon .", 2, "--abandon: found a folder, too; expected none"),
        ("import /nowhere", 7, "/nowhere: found no bundle.json"),
        ("import bundle", 7, "nobody vouches for it, because no key is pinned here or given"),
        ("import bundle --unsigned", 5, "Docker Engine"),
        ("receipt", 5, "Docker Engine"),
        ("rollback", 7, "found no import to go back from"),
    ],
)
def test_refused(
    arguments: str,
    status: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundles.write(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    assert run(arguments.split()) == status
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("undone", "words"), [(True, "undone"), (False, "done again")])
def test_a_rollback_says_what_it_did_and_how_to_start(
    undone: bool, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = RolledBack(bundle="b1", undone=undone, switches=(), folder=Path("/srv/my stack"), origin="")
    monkeypatch.setattr(rollback, "roll_back", lambda _stack, *, report: done)
    assert run(["rollback", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{words}: the import of bundle b1",
        "start it: paddock up '/srv/my stack'",
    ]
    assert run(["rollback", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "bundle": "b1",
        "undone": undone,
        "images": {},
        "folder": "/srv/my stack",
        "folder_is_of": None,
    }
