"""An import into an engine in memory: in its order, gone on with after any end, and taken back.

With real engines, both stores and real kills it is tested among the integration tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from memory_engine import MemoryEngine
from paddock.bundle.check import sequences, trust
from paddock.bundle.check.keys import KeyStore
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import SIGNATURE, Manifest, StackName
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.revoked import REVOKED, revoked_to_bytes
from paddock.bundle.site import importing, loading, loadplan, proof
from paddock.bundle.site import stack as site_stack
from paddock.bundle.site import state as site_state
from paddock.bundle.site.incoming import ImportRequest
from paddock.bundle.site.rollback import roll_back
from paddock.bundle.site.state import SiteState
from paddock.errors import BundleError, DataError, Interrupted
from recording import Recorder
from samples import bundles

OLD = {"paddock/cpu-api:0.1.0": bundles.LAYERS[2:]}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryEngine:
    """An empty engine; each layer is a step of its own."""
    memory = MemoryEngine()
    monkeypatch.setattr("paddock.engine.connect", lambda **_: memory)
    monkeypatch.setattr("paddock.engine.is_local", lambda: False)
    monkeypatch.setattr(loadplan, "SMALL_STEP", 1)
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path / "state"))
    return memory


@pytest.fixture
def bundle(tmp_path: Path) -> Manifest:
    """A bundle at `tmp_path/bundle`."""
    return bundles.write(tmp_path / "bundle")


def ids(manifest: Manifest) -> dict[str, str]:
    return {image.reference: image.config for image in manifest.images}


def request(tmp_path: Path, *names: str) -> ImportRequest:
    """For a bundle that nobody signed."""
    return ImportRequest(directories=tuple(tmp_path / name for name in names or ("bundle",)), unsigned=True)


def state(tmp_path: Path) -> SiteState:
    return SiteState(tmp_path / "state")


def test_everything_is_in_place_afterwards(
    engine: MemoryEngine, bundle: Manifest, tmp_path: Path, report: Recorder
) -> None:
    imported = importing.import_bundle(request(tmp_path), report=report)
    assert engine.names() == ids(bundle)
    assert len(engine.loads) == 3  # the layer that both images have is sent once
    assert [switch.reference for switch in imported.switches] == list(ids(bundle))
    assert imported.files > 0
    assert imported.folder == tmp_path / "state/stacks/stack"
    assert site_stack.origin(imported.folder) == bundle.id
    (installed,) = state(tmp_path).installed()
    assert (installed.bundle, installed.undone) == (bundle.id, False)
    assert state(tmp_path).unfinished() == ()
    assert [bar.label for bar in report.bars][-2:] == ["load", "prove"]


def test_the_same_bundle_again_changes_nothing(
    engine: MemoryEngine, bundle: Manifest, tmp_path: Path, report: Recorder
) -> None:
    importing.import_bundle(request(tmp_path), report=report)
    loads = list(engine.loads)
    again = importing.import_bundle(request(tmp_path), report=report)
    assert (again.switches, again.files, engine.loads) == ((), 0, loads)
    assert report.said[-1] == f"bundle {bundle.id}: everything is in place already"


def test_a_plan_changes_nothing(
    engine: MemoryEngine, bundle: Manifest, tmp_path: Path, report: Recorder
) -> None:
    (tmp_path / "bundle" / bundle.parts[0].name).unlink()
    plan = importing.plan_import(request(tmp_path), report=report)
    assert (len(plan.load.steps), plan.installed, plan.free) == (3, False, None)
    assert plan.folder == tmp_path / "state/stacks/stack"
    assert engine.loaded == {}
    assert "in none of these folders" in report.warned[-1]
    assert not (tmp_path / "state/installed.json").exists()


def test_settings_that_compose_refuses_are_named_before_anything_is_changed(
    engine: MemoryEngine, bundle: Manifest, tmp_path: Path, report: Recorder
) -> None:
    settings = tmp_path / "state/stacks/stack/.env"
    settings.parent.mkdir(parents=True)
    settings.write_bytes(b"API_PORT='80\n")
    with pytest.raises(DataError, match=r"\.env:1:10: found no closing '"):
        importing.import_bundle(request(tmp_path), report=report)
    assert engine.loaded == {}
    assert settings.read_bytes() == b"API_PORT='80\n"


def test_a_plan_of_what_is_there_has_no_steps(
    engine: MemoryEngine, bundle: Manifest, tmp_path: Path, report: Recorder
) -> None:
    importing.import_bundle(request(tmp_path), report=report)
    plan = importing.plan_import(request(tmp_path), report=report)
    assert (plan.load.steps, plan.installed) == ((), True)
    engine.images.remove(next(iter(ids(bundle))))
    assert not importing.plan_import(request(tmp_path), report=report).installed


def test_a_damaged_part_is_found_before_the_engine_is_touched(
    engine: MemoryEngine, bundle: Manifest, tmp_path: Path, report: Recorder
) -> None:
    path = tmp_path / "bundle" / bundle.parts[1].name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError):
        importing.import_bundle(request(tmp_path), report=report)
    assert engine.loaded == {}


def stopping(function: Callable[..., object], at: int, how: BaseException) -> Callable[..., object]:
    """The function, which raises `how` at its call number `at`."""
    calls = 0

    def stop(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            raise how
        return function(*arguments, **named)

    return stop


class KillError(Exception):
    """Ends the program as a kill does: nothing in it expects this."""


@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [
        (loading.Loader, "send", 2),
        (proof, "prove", 1),
        (proof, "prove", 2),
        (SiteState, "note", 5),  # the switches, after the four parts
        (importing, "switch", 1),
        (importing, "switch", 2),
        (site_stack, "prepare", 1),
        (site_stack, "put_in_place", 1),
        (sequences, "record", 1),
        (SiteState, "remember", 1),
        (loading, "remove_staging", 1),
        (SiteState, "forget", 1),
    ],
)
def test_the_same_command_goes_on_after_any_end(
    engine: MemoryEngine,
    bundle: Manifest,
    tmp_path: Path,
    report: Recorder,
    owner: object,
    name: str,
    at: int,
) -> None:
    assert len(bundle.parts) == 4
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, stopping(getattr(owner, name), at, KillError()))
        with pytest.raises(KillError):
            importing.import_bundle(request(tmp_path), report=report)
    importing.import_bundle(request(tmp_path), report=report)
    assert engine.names() == ids(bundle)
    assert len(engine.loads) == 3  # nothing was loaded twice
    assert site_stack.origin(tmp_path / "state/stacks/stack") == bundle.id
    assert [installed.bundle for installed in state(tmp_path).installed()] == [bundle.id]
    assert state(tmp_path).unfinished() == ()


def test_an_interrupt_says_how_it_goes_on(
    engine: MemoryEngine,
    bundle: Manifest,
    tmp_path: Path,
    report: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send = stopping(loading.Loader.send, 2, KeyboardInterrupt())
    monkeypatch.setattr(loading.Loader, "send", send)
    with pytest.raises(Interrupted, match=f"bundle {bundle.id}: its import is not finished") as interrupted:
        importing.import_bundle(request(tmp_path), report=report)
    assert "The same command goes on" in interrupted.value.hint
    assert list(engine.names()) == [loadplan.staging_name(bundle.id, 0, 1)]


def test_somebody_who_may_not_open_the_engines_folder_flushes_every_disk(
    engine: MemoryEngine,
    bundle: Manifest,
    tmp_path: Path,
    report: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As every user but root: /var/lib/docker has mode 0710."""
    flushed: list[Path | None] = []

    def flush(disk: Path | None) -> None:
        flushed.append(disk)
        if disk is not None:
            raise PermissionError

    monkeypatch.setattr(importing, "flush_disk", flush)
    monkeypatch.setattr("paddock.bundle.imagestore.store.EngineStore.disk", lambda _: tmp_path)
    importing.import_bundle(request(tmp_path), report=report)
    assert flushed == [tmp_path, None]
    assert engine.names() == ids(bundle)


def test_an_engine_that_refuses_a_load_keeps_what_it_had(
    engine: MemoryEngine, bundle: Manifest, tmp_path: Path, report: Recorder
) -> None:
    engine.refuses_loads = "no space left on device"
    with pytest.raises(BundleError, match="the engine did not load it") as refused:
        importing.import_bundle(request(tmp_path), report=report)
    assert "make room" in refused.value.hint
    assert (engine.names(), state(tmp_path).unfinished()) == ({}, ())


def test_a_delta_is_made_on_a_bundle_that_is_named(
    engine: MemoryEngine, tmp_path: Path, report: Recorder
) -> None:
    bundles.write(tmp_path / "base", images={"base:1": bundles.LAYERS[1:]}, files={})
    images = {"new:1": (bundles.LAYERS[1], bundles.LAYERS[0])}
    delta = bundles.write(tmp_path / "bundle", images=images, files={}, on=bundles.LAYERS[1:2])
    with pytest.raises(BundleError, match="needs 1 of 1 base layers"):
        importing.import_bundle(request(tmp_path), report=report)
    with_base = replace(request(tmp_path), bases=(tmp_path / "base",))
    importing.import_bundle(with_base, report=report)
    assert engine.names() == ids(delta)


def test_going_back_and_forward(engine: MemoryEngine, tmp_path: Path, report: Recorder) -> None:
    stack = {"stack/compose.yaml": b"services: {}\n"}
    old = bundles.write(tmp_path / "old", images=OLD, files=stack)
    new = bundles.write(tmp_path / "new", files={**stack, "stack/new.sh": b""})
    importing.import_bundle(request(tmp_path, "old"), report=report)
    with pytest.raises(BundleError, match="its import replaced nothing"):
        roll_back(report=report)
    importing.import_bundle(request(tmp_path, "new"), report=report)
    name = next(iter(OLD))
    kept = f"{name}-previous"
    assert (engine.names()[name], engine.names()[kept]) == (ids(new)[name], ids(old)[name])
    back = roll_back(report=report)
    assert (back.bundle, back.undone, back.origin) == (new.id, True, old.id)
    assert (engine.names()[name], engine.names()[kept]) == (ids(old)[name], ids(new)[name])
    forward = roll_back(report=report)
    assert (forward.bundle, forward.undone, forward.origin) == (new.id, False, new.id)
    assert (engine.names()[name], engine.names()[kept]) == (ids(new)[name], ids(old)[name])
    with pytest.raises(BundleError, match="found no import of the stack other to go back from"):
        roll_back("other", report=report)
    engine.images.remove(kept)
    with pytest.raises(BundleError, match="the engine no longer has"):
        roll_back(report=report)


def test_where_nothing_was_imported_there_is_nothing_to_go_back_to(
    engine: MemoryEngine, report: Recorder
) -> None:
    with pytest.raises(BundleError, match="found no import to go back from"):
        roll_back(report=report)
    assert engine.loaded == {}
    assert site_state.folder().is_dir()


# --- whom to trust ------------------------------------------------------------------------------------------

KEY, OTHER = signature.generate(), signature.generate()
MOVED = {"paddock/cpu-api:0.1.0": bundles.LAYERS[2:]}


def signed(folder: Path, key: signature.SecretKey = KEY, sequence: int = 20) -> None:
    with OpenBundle.open([folder]) as opened:
        trust.sign_bundle(opened, key, sequence=sequence)


def of_keys(tmp_path: Path, *names: str) -> ImportRequest:
    return replace(request(tmp_path, *names), unsigned=False)


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.usefixtures("bundle")
@pytest.mark.fault("no signature")
def test_what_no_key_vouches_for_needs_a_word(
    engine: MemoryEngine, tmp_path: Path, report: Recorder, *, is_signed: bool
) -> None:
    """Any key may have signed it, as none is pinned."""
    if is_signed:
        signed(tmp_path / "bundle", OTHER)
    for act in (importing.plan_import, importing.import_bundle):
        with pytest.raises(BundleError, match="nobody vouches for it, because no key is pinned") as refused:
            act(of_keys(tmp_path), report=report)
        assert "--unsigned" in refused.value.hint
    assert engine.loaded == {}
    importing.import_bundle(request(tmp_path), report=report)
    assert "nobody vouches for it" in report.warned[0]


@pytest.mark.usefixtures("bundle")
@pytest.mark.fault("no signature")
def test_that_word_does_not_get_around_a_pinned_key(
    engine: MemoryEngine, tmp_path: Path, report: Recorder
) -> None:
    KeyStore(own=tmp_path / "state").pin(KEY.public)
    with pytest.raises(BundleError, match=f"has no signature, expected one by {KEY.public.id}"):
        importing.import_bundle(request(tmp_path), report=report)
    signed(tmp_path / "bundle", OTHER)
    with pytest.raises(BundleError, match=f"expected one by {KEY.public.id}"):
        importing.import_bundle(request(tmp_path), report=report)
    assert engine.loaded == {}
    (tmp_path / "bundle" / SIGNATURE).unlink()
    signed(tmp_path / "bundle")
    importing.import_bundle(of_keys(tmp_path), report=report)


@pytest.mark.fault("name moved to an older image")
def test_an_older_image_comes_in_only_where_that_is_asked_for(
    engine: MemoryEngine, bundle: Manifest, tmp_path: Path, report: Recorder
) -> None:
    """By a bundle of another stack, whose sequence number nothing else forbids."""
    KeyStore(own=tmp_path / "state").pin(KEY.public)
    signed(tmp_path / "bundle", sequence=200)
    importing.import_bundle(of_keys(tmp_path), report=report)
    stack = {"name": "cpu", "target": "cpu", "backend": "b", "model": "m", "variant": "online"}
    older = bundles.write(tmp_path / "older", images=MOVED, files={}, stack=StackName(**stack))
    signed(tmp_path / "older", sequence=10)
    with pytest.raises(BundleError, match=r"expected at least 200: a newer one for paddock/cpu-api:0\.1\.0"):
        importing.import_bundle(of_keys(tmp_path, "older"), report=report)
    assert engine.names() == ids(bundle)
    importing.import_bundle(replace(of_keys(tmp_path, "older"), allow_older=True), report=report)
    assert engine.names().items() >= ids(older).items()
    recorded = json.loads((tmp_path / "state/sequences.json").read_text())
    (name,) = ids(older)
    assert [recorded[key] for key in recorded if key.startswith(f"name:{name}@")] == [10]


@pytest.mark.usefixtures("engine")
@pytest.mark.fault("key revoked or over")
def test_keys_that_a_bundle_revokes_are_not_trusted_afterwards(tmp_path: Path, report: Recorder) -> None:
    keys = KeyStore(own=tmp_path / "state")
    bundles.write(tmp_path / "bundle", files={REVOKED: revoked_to_bytes([KEY.public])})
    importing.import_bundle(request(tmp_path), report=report)
    assert keys.revoked() == frozenset()  # nobody who is trusted signed it
    keys.pin(KEY.public)
    keys.pin(OTHER.public)
    signed(tmp_path / "bundle", OTHER)
    importing.import_bundle(replace(of_keys(tmp_path), revoke=False), report=report)
    assert keys.revoked() == frozenset()
    importing.import_bundle(of_keys(tmp_path), report=report)
    assert f"key {KEY.public.id}: revoked by bundle" in report.warned[-1]
    bundles.write(tmp_path / "next")
    signed(tmp_path / "next", KEY, sequence=30)
    with pytest.raises(BundleError, match=f"by key {KEY.public.id}, which was revoked"):
        importing.import_bundle(of_keys(tmp_path, "next"), report=report)
