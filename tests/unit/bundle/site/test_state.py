"""What a site keeps: written whole, read back, and refused when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.bundle.site import state as site_state
from paddock.bundle.site.state import GoodPart, Installed, Journal, SiteState, Switch
from paddock.errors import BundleError
from samples import bundles

SWITCH = Switch(reference="a:1", image="sha256:2", previous=None)


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
    journal = Journal(bundle="b", parts=(GoodPart(name="p", path="/m/p", seen="1"),), switches=(SWITCH,))
    for each in (journal, Journal(bundle="b")):
        state.note(each)
        assert state.journal("b") == each
    assert state.under_way() == ("b",)
    state.forget("b")
    state.forget("b")
    assert (state.journal("b"), state.under_way()) == (None, ())


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
    for bundle in ("b", "c", "b"):
        state.remember(installed(bundle), manifest)
    assert state.installed() == (installed("c"), installed("b"))
    assert list(state.manifests()) == [manifest]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"bundle": "b"}]', '{"a": 1}'])
def test_damage_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "installed.json").write_text(text)
    with pytest.raises(BundleError, match="is damaged"):
        SiteState(tmp_path).installed()
    (tmp_path / "imports").mkdir()
    (tmp_path / "imports/b.json").write_text(text)
    with pytest.raises(BundleError, match="is damaged"):
        SiteState(tmp_path).journal("b")


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    again = site_state.locked(tmp_path / "new")
    with site_state.locked(tmp_path / "new"), pytest.raises(BundleError, match="is under way"), again:
        pass
    with site_state.locked(tmp_path / "new"):
        pass
