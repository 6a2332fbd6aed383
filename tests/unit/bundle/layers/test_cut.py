"""Frames: the raw bytes again, the same however they are fed, and few of them changed by a small change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_files import noise, text
from paddock.bundle.layers.cut import LARGEST, frames
from small_images import tar


def fed(data: bytes, at_once: int) -> Iterator[bytes]:
    return (data[at : at + at_once] for at in range(0, len(data), at_once))


SMALL = {f"lib/{number:04}.py": text(20_000 + number * 7, number) for number in range(400)}
LARGE = {"weights": noise(30 << 20), "after": b"small", "libtorch.so": text(12 << 20)}
LAYER = tar({**SMALL, **LARGE})


@pytest.mark.parametrize("at_once", [10_007, 1 << 20, 1 << 24])
def test_frames_are_the_layer_and_do_not_depend_on_how_it_is_fed(at_once: int) -> None:
    cut = list(frames(fed(LAYER, at_once)))
    assert b"".join(cut) == LAYER
    assert cut == list(frames([LAYER]))
    assert len(LAYER) / len(cut) > 1 << 20
    assert max(map(len, cut)) <= LARGEST


def test_a_large_body_has_frames_of_its_own() -> None:
    cut = set(frames([LAYER]))
    moved = set(frames([tar({"first": b"x" * 5000, **LARGE, **SMALL}, time=7)]))
    held = sum(len(frame) for frame in cut & moved)
    assert held == (30 << 20) + (12 << 20)


def test_a_changed_member_changes_few_frames() -> None:
    changed = list(frames([tar({**SMALL, "lib/0200.py": b"other " * 9000, **LARGE})]))
    assert len(set(changed) - set(frames([LAYER]))) <= 2


@settings(max_examples=25)
@given(st.binary(max_size=5000), st.integers(0, 30), st.integers(1, 1 << 21))
def test_any_bytes(data: bytes, repeat: int, at_once: int) -> None:
    stream = data * (1 + 200 * repeat)
    assert list(frames(fed(stream, at_once))) == list(frames([stream]))
    assert b"".join(frames([stream])) == stream
