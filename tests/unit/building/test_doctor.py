"""What `paddock doctor` says of this machine and of base images, against a registry on this machine."""

from __future__ import annotations

import pytest

from fake_engine import FakeEngine
from paddock.building import doctor
from paddock.matrix import pins
from paddock.matrix.load import load_registry
from paddock.matrix.records import Base, Platform
from paddock.paths import templates
from recording import Recorder


def judged(address: str, repository: str, lock: pins.Pins, *, debootstrap: str | None = None) -> doctor.Check:
    wanted = doctor.Wanted(
        base=Base(image=f"{repository}:1.0", debootstrap=debootstrap),
        platform=Platform.AMD64,
        used_by=("cpu-api",),
    )
    (check,) = doctor.check_base_images(
        [wanted],
        lock,
        base_registry=f"{address}/",
        ca_bundle=None,
        report=Recorder(),
    )
    return check


def test_a_tag_that_moved_is_not_well(registry_address: str, registry_digest: str) -> None:
    def lock(digest: str) -> pins.Pins:
        return pins.Pins(bases={"open/both:1.0": {Platform.AMD64: pins.PinnedBase(digest=digest)}})

    assert judged(registry_address, "open/both", lock(registry_digest)).well
    moved = judged(registry_address, "open/both", lock("sha256:" + "0" * 64))
    assert not moved.well
    assert registry_digest in moved.found


def test_who_starts_from_what_is_not_there(registry_address: str) -> None:
    check = judged(registry_address, "open/none", pins.Pins())
    assert not check.well
    assert "not there" in check.found
    assert "cpu-api start from it" in check.hint


def test_silence_is_well_only_where_the_base_can_be_made_here(registry_address: str) -> None:
    assert judged(registry_address, "broken/it", pins.Pins(), debootstrap="bookworm").well
    check = judged(registry_address, "broken/it", pins.Pins())
    assert not check.well
    assert "--base-registry" in check.hint


def test_every_base_is_asked_for_once_for_each_platform() -> None:
    data = load_registry(templates())
    found = doctor.wanted(data.targets.values())
    pairs = [(image.image, image.platform) for image in found]
    assert len(pairs) == len(set(pairs)) >= 2
    asked = {name for image in found for name in image.used_by}
    assert asked == {name for target in data.targets.values() for name in doctor.images_of(target)}


def test_every_image_of_upstreams_is_asked_for_once_for_each_platform() -> None:
    data = load_registry(templates())
    found = doctor.wanted_of_upstream(data.targets.values())
    pairs = [(image.image, image.platform) for image in found]
    assert len(pairs) == len(set(pairs)) >= 10
    assert {name for image in found for name in image.used_by} == {
        f"{target.name}-{key}" for target in data.targets.values() for key in target.upstream
    }


def test_no_build_needs_an_image_of_upstreams(registry_address: str) -> None:
    wanted = doctor.Wanted(
        base=Base(image=f"{registry_address}/open/none:1.0"),
        platform=Platform.AMD64,
        used_by=("one-api",),
        upstream=True,
    )
    (check,) = doctor.check_base_images(
        [wanted],
        pins.Pins(),
        base_registry="nowhere.invalid/",
        ca_bundle=None,
        report=Recorder(),
    )
    assert not check.well
    assert "nowhere.invalid" not in check.what
    assert "in the place of one-api, no build needs it" in check.hint


def test_a_registry_is_asked_once_for_each_image_and_says_so(registry_address: str) -> None:
    report = Recorder()
    images = [
        doctor.Wanted(base=Base(image=f"{repository}:1.0"), platform=Platform.AMD64, used_by=("cpu-api",))
        for repository in ("open/both", "open/attested")
    ]
    checks = doctor.check_base_images(
        images, pins.Pins(), base_registry=f"{registry_address}/", ca_bundle=None, report=report
    )
    assert [check.well for check in checks] == [True, True]
    assert report.said == [
        f"asking for {registry_address}/open/both:1.0 (linux/amd64)",
        f"asking for {registry_address}/open/attested:1.0 (linux/amd64)",
    ]


@pytest.mark.parametrize(("free", "well"), [(31 * 10**9, True), (29 * 10**9, False), (None, True)])
def test_room_for_a_build(
    fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, free: int | None, well: bool
) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda _folder: free)
    (room,) = [check for check in doctor.check_machine() if check.what == "room on this disk"]
    assert room.well is well
    assert ("30 GB are wanted" in room.hint) is not well
