"""What a site keeps: written whole, read back, and refused when damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from paddock.bundle.site import state as site_state
from paddock.bundle.site.state import GoodPart, Installed, Journal, SiteState, Switch
from paddock.errors import BundleError
from samples import bundles

SWITCH = Switch(reference="a:1", image="sha256:2", previous=None)
INSTALLED = {
    "bundle": "b",
    "sequence": 3,
    "tool": "0.1.0",
    "time": "now",
    "stack": "cpu",
    "folder": "/x",
    "switches": [{"reference": "a:1", "image": "sha256:2", "previous": None}],
    "undone": False,
}
JOURNAL = {
    "bundle": "b",
    "parts": [{"name": "images.tar.000", "path": "/m/images.tar.000", "seen": "1:2:3:4"}],
    "switches": None,
}


def installed(bundle: str) -> Installed:
    return Installed(
        bundle=bundle, sequence=3, tool="0.1.0", time="now", stack="cpu", folder="/x", switches=(SWITCH,)
    )


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path))
    assert site_state.folder() == tmp_path
    monkeypatch.delenv("PADDOCK_STATE")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert site_state.folder() == Path("/var/lib/paddock")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert site_state.folder() == Path("/home/me/state/paddock")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert site_state.folder() == Path.home() / ".local/state/paddock"


def test_a_journal_is_read_back(tmp_path: Path) -> None:
    state = SiteState(tmp_path)
    assert state.journal("b") is None
    written = Journal(bundle="b", parts=(GoodPart(name="p", path="/m/p", seen="1"),), switches=(SWITCH,))
    for journal in (written, Journal(bundle="b")):
        state.note(journal)
        assert state.journal("b") == journal
    assert state.unfinished() == ("b",)
    state.forget("b")
    state.forget("b")
    assert (state.journal("b"), state.unfinished()) == (None, ())


def test_a_part_is_known_until_somebody_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "images.tar.000"
    path.write_bytes(b"1")
    part = GoodPart.read(path.name, path)
    assert part.is_unchanged()
    path.write_bytes(b"22")
    assert not part.is_unchanged()
    path.unlink()
    assert not part.is_unchanged()


def test_what_is_installed_is_read_back_and_the_newest_is_last(tmp_path: Path) -> None:
    state, manifest = SiteState(tmp_path / "state"), bundles.write(tmp_path / "bundle")
    assert state.installed() == ()
    for bundle in ("b", "c", "b"):
        state.remember(installed(bundle), manifest)
    assert state.installed() == (installed("c"), installed("b"))
    assert list(state.manifests()) == [manifest]


def test_how_the_files_are_written(tmp_path: Path) -> None:
    """Sites keep their state across versions of the tool."""
    state = SiteState(tmp_path)
    state.replace((installed("b"),))
    assert json.loads((tmp_path / "installed.json").read_text()) == [INSTALLED]
    part = GoodPart(name="images.tar.000", path="/m/images.tar.000", seen="1:2:3:4")
    state.note(Journal(bundle="b", parts=(part,)))
    assert json.loads((tmp_path / "imports/b.json").read_text()) == JOURNAL


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("{}", "found an object, expected a list"),
        ("[1]", r"\[0\]: found an integer, expected an object"),
        ('[{"bundle": "b"}]', r"\[0\]: the keys .*'sequence'.* are missing"),
        ([INSTALLED | {"more": 1}], "the keys 'more' are missing or unknown"),
        ([INSTALLED | {"sequence": "3"}], "sequence: found a string, expected an integer"),
        ([INSTALLED | {"sequence": True}], "sequence: found true or false, expected an integer"),
        ([INSTALLED, INSTALLED | {"undone": 0}], r"\[1\]: undone: found an integer, expected true or false"),
        ([INSTALLED | {"tool": None}], "tool: found null, expected a string"),
        ([INSTALLED | {"switches": "a:1"}], "switches: found a string, expected a list"),
        (
            [INSTALLED | {"switches": [{"reference": "a:1", "image": 2, "previous": None}]}],
            r"switches\[0\]: image: found an integer, expected a string",
        ),
    ],
)
def test_a_damaged_list_of_what_is_installed_is_refused(tmp_path: Path, content: object, words: str) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "installed.json").write_text(text)
    with pytest.raises(BundleError, match=f"installed.json.*{words}") as refused:
        SiteState(tmp_path).installed()
    assert "move it away" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "found a list, expected an object"),
        ('{"a": 1}', "missing or unknown"),
        (JOURNAL | {"parts": {}}, "parts: found an object, expected a list"),
        (
            JOURNAL | {"parts": [{"name": "p", "path": "/m/p", "seen": 1}]},
            r"parts\[0\]: seen: found an integer, expected a string",
        ),
        (JOURNAL | {"switches": [3]}, r"switches\[0\]: found an integer, expected an object"),
    ],
)
def test_a_damaged_journal_is_refused(tmp_path: Path, content: object, words: str) -> None:
    (tmp_path / "imports").mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "imports/b.json").write_text(text)
    with pytest.raises(BundleError, match=f"imports/b.json.*{words}") as refused:
        SiteState(tmp_path).journal("b")
    assert "move it away" in refused.value.hint


def test_a_lock_is_held_once_and_names_its_holder(tmp_path: Path) -> None:
    state = tmp_path / "new"
    with site_state.locked(state):
        again = site_state.locked(state)
        with pytest.raises(BundleError, match=rf"is under way \(process {os.getpid()}\)") as refused, again:
            pass
        assert "Wait until it ends" in refused.value.hint
    with site_state.locked(state):
        pass


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    lock = site_state.locked(tmp_path / "file/state")
    with pytest.raises(BundleError, match="file/state/lock: cannot be written"), lock:
        pass
