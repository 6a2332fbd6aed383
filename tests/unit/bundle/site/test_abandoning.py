"""An import that was cut short is given up: whatever it had reached, the site is as it was before."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory_engine import MemoryEngine
from paddock.bundle.check import sequences
from paddock.bundle.site import importing, loading, loadplan, proof
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site.abandoning import abandon
from paddock.bundle.site.incoming import ImportRequest
from paddock.bundle.site.state import Journal, SiteState, Switch
from recording import Recorder
from samples import bundles


class KillError(Exception):
    """Stands for SIGKILL."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryEngine:
    """An empty engine; each layer is a step of its own."""
    memory = MemoryEngine()
    monkeypatch.setattr("paddock.engine.connect", lambda **_: memory)
    monkeypatch.setattr("paddock.engine.is_local", lambda: False)
    monkeypatch.setattr(loadplan, "SMALL_STEP", 1)
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path / "state"))
    return memory


def stopping(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The function, killed at its call with this number."""
    calls = 0

    def call(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KillError
        return function(*args, **named)

    return call


def import_it(folder: Path) -> None:
    importing.import_bundle(ImportRequest(directories=(folder,), unsigned=True), report=Recorder())


def cut_short(folder: Path, owner: object, name: str, at: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, stopping(getattr(owner, name), at))
        with pytest.raises(KillError):
            import_it(folder)


def stacks(tmp_path: Path) -> dict[str, bytes]:
    """Every file of the stacks that are in place."""
    folder = tmp_path / "state/stacks"
    paths = (path for path in folder.rglob("*") if path.is_file() and ".previous" not in str(path))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


ENDS = [
    (loading.Loader, "send", 2),
    (proof, "prove", 1),
    (SiteState, "note", 5),  # the switches, after the four parts
    (importing, "switch", 1),
    (importing, "switch", 2),
    (site_stack, "prepare", 2),  # the first is for the look at the cards
    (site_stack, "put_in_place", 1),
    (sequences, "record", 1),
    (SiteState, "remember", 1),
]


@pytest.mark.parametrize(("owner", "name", "at"), ENDS)
@pytest.mark.parametrize("before", [False, True], ids=["empty site", "after another bundle"])
def test_whatever_it_had_reached(
    engine: MemoryEngine,
    tmp_path: Path,
    report: Recorder,
    owner: object,
    name: str,
    at: int,
    *,
    before: bool,
) -> None:
    if before:
        old = dict.fromkeys(bundles.IMAGES, bundles.LAYERS[2:])
        bundles.write(tmp_path / "old", images=old, files={"stack/compose.yaml": b"services: {old: {}}\n"})
        import_it(tmp_path / "old")
    names, files = engine.names(), stacks(tmp_path)
    bundle = bundles.write(tmp_path / "bundle")
    cut_short(tmp_path / "bundle", owner, name, at)
    assert abandon(report=report) == (bundle.id,)
    assert (engine.names(), stacks(tmp_path)) == (names, files)
    assert SiteState(tmp_path / "state").unfinished() == ()
    assert abandon(report=report) == ()
    import_it(tmp_path / "bundle")
    assert set(engine.names()) >= set(bundles.IMAGES)


@pytest.mark.parametrize("at", [3, 4])
def test_names_that_were_moved_from_other_images(
    engine: MemoryEngine, tmp_path: Path, report: Recorder, at: int
) -> None:
    """First both images before get another name, then the names are moved one by one."""
    test_whatever_it_had_reached(engine, tmp_path, report, importing, "switch", at, before=True)


@pytest.mark.parametrize(("owner", "name"), [(loading, "remove_staging"), (SiteState, "forget")])
def test_an_import_that_is_installed_stays(
    engine: MemoryEngine, tmp_path: Path, report: Recorder, owner: object, name: str
) -> None:
    bundle = bundles.write(tmp_path / "bundle")
    cut_short(tmp_path / "bundle", owner, name, 1)
    assert abandon(report=report) == (bundle.id,)
    assert engine.names() == {image.reference: image.config for image in bundle.images}
    assert site_stack.origin(tmp_path / "state/stacks/stack") == bundle.id


def test_names_that_no_engine_gives_are_no_hindrance(
    engine: MemoryEngine, tmp_path: Path, report: Recorder
) -> None:
    """As 0.1.0 left it after the import of an image that was exported by its id."""
    bundle = bundles.write(tmp_path / "bundle")
    cut_short(tmp_path / "bundle", importing, "switch", 1)
    (loaded, _) = engine.loaded
    state = SiteState(tmp_path / "state")
    state.note(Journal(bundle=bundle.id, switches=(Switch(reference=loaded, image=loaded, previous=None),)))
    assert abandon(report=report) == (bundle.id,)
    assert (engine.names(), engine.loaded) == ({}, {})


def test_a_damaged_record_is_no_hindrance(engine: MemoryEngine, tmp_path: Path, report: Recorder) -> None:
    bundle = bundles.write(tmp_path / "bundle")
    cut_short(tmp_path / "bundle", proof, "prove", 1)
    (tmp_path / f"state/imports/{bundle.id}.json").write_bytes(b"{")
    assert abandon(report=report) == (bundle.id,)
    assert engine.names() == {}
    assert "names that it gave to images stay" in report.warned[-1]


def test_a_name_that_an_image_had_already_stays(
    engine: MemoryEngine, tmp_path: Path, report: Recorder
) -> None:
    first, *_ = bundles.IMAGES
    bundles.write(tmp_path / "first", images={first: bundles.IMAGES[first]}, files={})
    import_it(tmp_path / "first")
    names = engine.names()
    bundles.write(tmp_path / "bundle")
    cut_short(tmp_path / "bundle", site_stack, "prepare", 2)
    abandon(report=report)
    assert engine.names() == names


def test_what_the_record_says_is_what_the_state_has_written(tmp_path: Path) -> None:
    """The counter-proof for imports that an older release began: the form of the record is that of 0.1.0."""
    journal = Journal(bundle="0" * 16)
    SiteState(tmp_path).note(journal)
    assert json.loads((tmp_path / f"imports/{journal.bundle}.json").read_bytes()) == {
        **dataclasses.asdict(journal),
        "parts": [],
    }
    assert [field.name for field in dataclasses.fields(Journal)] == ["bundle", "parts", "switches"]
    assert [field.name for field in dataclasses.fields(Switch)] == ["reference", "image", "previous"]
