"""Sequence numbers: what is older than what the site had is refused, be it a stack, an image or a name."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.bundle.check import sequences
from paddock.bundle.check.trust import Signed
from paddock.bundle.format.manifest import Image, Manifest, StackName
from paddock.errors import BundleError
from samples import bundles
from samples.site import KEY

CPU = StackName(name="cpu", target="cpu", backend="vllm", model="paddleocr-vl-1.6", variant="online")


def manifest(folder: Path, stack: StackName | None, *references: str) -> Manifest:
    one = bundles.write(folder)
    images = tuple(
        Image(reference=name, config=one.images[0].config, manifest=one.images[0].manifest, layers=())
        for name in references
    )
    return replace(one, stack=stack, images=images or one.images)


def at(sequence: int, *, checked: bool = True) -> Signed:
    return Signed(key_id=KEY.public.id, sequence=sequence, checked=checked)


def test_an_older_bundle_of_the_same_stack_is_refused(tmp_path: Path) -> None:
    cpu = manifest(tmp_path / "b", CPU)
    sequences.check(cpu, at(10), tmp_path)
    sequences.record(cpu, at(10), tmp_path)
    sequences.check(cpu, at(10), tmp_path)  # the same again
    sequences.check(cpu, at(11), tmp_path)
    with pytest.raises(BundleError, match="has sequence 9, expected at least 10: a newer one for cpu"):
        sequences.check(cpu, at(9), tmp_path)
    sequences.record(cpu, at(3), tmp_path)  # never falls by itself
    with pytest.raises(BundleError, match="expected at least 10"):
        sequences.check(cpu, at(9), tmp_path)


def test_what_is_not_signed_has_no_sequence(tmp_path: Path) -> None:
    cpu = manifest(tmp_path / "b", CPU)
    sequences.record(cpu, at(10, checked=False), tmp_path / "state")
    sequences.record(cpu, None, tmp_path / "state")
    assert not (tmp_path / "state").exists()
    sequences.check(cpu, None, tmp_path / "state")
    sequences.check(cpu, at(1, checked=False), tmp_path / "state")


def test_two_stacks_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    cpu, offline = (manifest(tmp_path / "b", stack) for stack in (CPU, replace(CPU, name="cpu-offline")))
    sequences.record(cpu, at(10), tmp_path)
    sequences.check(offline, at(5), tmp_path)


@pytest.mark.parametrize("reference", ["paddock/cpu-api:0.0.9", "paddock/cpu-api"])
def test_old_images_do_not_come_in_without_their_stack(tmp_path: Path, reference: str) -> None:
    sequences.record(manifest(tmp_path / "b", CPU), at(10), tmp_path)
    with pytest.raises(BundleError, match="a newer one for paddock/cpu-api was imported"):
        sequences.check(manifest(tmp_path / "b", None, "other/one:1", reference), at(9), tmp_path)
    sequences.check(manifest(tmp_path / "b", None, "host:5000/paddock/cpu-api"), at(9), tmp_path)


def test_a_damaged_record_is_not_passed_over(tmp_path: Path) -> None:
    cpu = manifest(tmp_path / "b", CPU)
    sequences.record(cpu, at(10), tmp_path)
    for text in ("", "[]", '{"stack:cpu": "x"}'):
        (tmp_path / "sequences.json").write_text(text)
        with pytest.raises(BundleError, match="is damaged"):
            sequences.check(cpu, at(11), tmp_path)


# --- names and their images ---------------------------------------------------------------------------------

API = "paddock/cpu-api:0.1.0"
EMBEDDED = replace(CPU, name="cpu-embedded")


def built_again(made: Manifest) -> Manifest:
    """A bundle of the same names, which lead to other images."""
    images = tuple(replace(image, config=image.manifest) for image in made.images)
    return replace(made, images=images)


@pytest.mark.fault("name moved to an older image")
def test_a_name_does_not_move_to_an_older_image(tmp_path: Path) -> None:
    """Another stack with an older image of a name that both have."""
    cpu = manifest(tmp_path / "b", CPU, API)
    embedded = built_again(replace(cpu, stack=EMBEDDED))
    sequences.record(cpu, at(200), tmp_path)
    with pytest.raises(BundleError, match=f"expected at least 200: a newer one for {API} was") as refused:
        sequences.check(embedded, at(10), tmp_path)
    assert "--allow-older" in refused.value.hint
    sequences.check(replace(cpu, stack=EMBEDDED), at(10), tmp_path)  # the same image: it does not move
    sequences.check(embedded, at(200), tmp_path)
    sequences.check(manifest(tmp_path / "c", EMBEDDED, "paddock/cpu-api:0.0.9"), at(10), tmp_path)


def test_the_image_that_came_last_counts(tmp_path: Path) -> None:
    first = manifest(tmp_path / "b", CPU, API)
    second = built_again(first)
    sequences.record(first, at(10), tmp_path)
    sequences.record(second, at(20), tmp_path)
    sequences.check(replace(second, stack=EMBEDDED), at(5), tmp_path)
    with pytest.raises(BundleError, match="expected at least 20"):
        sequences.check(replace(first, stack=EMBEDDED), at(15), tmp_path)


def test_what_was_let_in_though_older_counts_from_then_on(tmp_path: Path) -> None:
    first = manifest(tmp_path / "b", CPU, API)
    second = built_again(first)
    sequences.record(second, at(20), tmp_path)
    sequences.check(first, at(10), tmp_path, allow_older=True)
    sequences.record(first, at(10), tmp_path, allow_older=True)
    sequences.check(second, at(15), tmp_path)
    with pytest.raises(BundleError, match="expected at least 10"):
        sequences.check(first, at(9), tmp_path)


# --- clocks -------------------------------------------------------------------------------------------------

DAY = 24 * 60 * 60


@pytest.mark.parametrize("allow_older", [False, True])
@pytest.mark.fault("clock far in the future")
def test_a_number_of_the_future_is_refused_and_never_recorded(tmp_path: Path, *, allow_older: bool) -> None:
    cpu, now = manifest(tmp_path / "b", CPU), int(time.time())
    sequences.check(cpu, at(now + DAY - 60), tmp_path)
    with pytest.raises(BundleError, match="more than a day ahead of this host's clock") as refused:
        sequences.check(cpu, at(now + DAY + 60), tmp_path, allow_older=allow_older)
    assert "set the clock that is wrong" in refused.value.hint


def test_a_site_that_was_locked_out_once_is_let_in_again(tmp_path: Path) -> None:
    """Earlier versions recorded any number."""
    cpu, now = manifest(tmp_path / "b", CPU), int(time.time())
    sequences.record(cpu, at(now + 10 * 365 * DAY), tmp_path)
    with pytest.raises(BundleError, match="expected at least"):
        sequences.check(cpu, at(now), tmp_path)
    sequences.check(cpu, at(now), tmp_path, allow_older=True)
    sequences.record(cpu, at(now), tmp_path, allow_older=True)
    sequences.check(cpu, at(now + 1), tmp_path)
