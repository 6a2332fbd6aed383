"""Recipes: whatever two layers are, one makes the second from the first; and what is no recipe is refused."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from layer_files import MemoryLayer, noise
from paddock.bundle.delta import recipe
from paddock.bundle.format.libzstd import zstd
from paddock.errors import BundleError
from samples.recipes import BASE, PACKAGES, opened, rebuilds, tar, written

Members: TypeAlias = list[tuple[str, bytes, int]]

NAMES = some.sampled_from(["a", "pkg/b.py", "pkg-1.0/m.py", "pkg-1.1/m.py", "lib.so", "lib2.so", "n" * 200])
PIECES = some.sampled_from([noise(size, number) for number, size in enumerate([0, 1, 700, 90_000, 300_000])])
BODIES = some.lists(PIECES, max_size=4).map(b"".join)
MEMBERS = some.lists(some.tuples(NAMES, BODIES, some.integers(0, 2)), max_size=6)


@given(old=MEMBERS, new=MEMBERS, cut_at=some.integers(0, 3000))
@settings(max_examples=40)
def test_any_layer_from_any_other_one(old: Members, new: Members, cut_at: int) -> None:
    data = tar(new)
    rebuilds(MemoryLayer(data[: len(data) - cut_at]), MemoryLayer(tar(old)))


@given(old=some.binary(max_size=3000), new=some.binary(max_size=3000))
@settings(max_examples=30)
def test_what_is_no_tar(old: bytes, new: bytes) -> None:
    rebuilds(MemoryLayer(new), MemoryLayer(old), MemoryLayer(old + new))


# --- hostile recipes ----------------------------------------------------------------------------------------

NEW = MemoryLayer(
    tar([PACKAGES[5], ("site/p9/m.py", noise(40_009, 9)[:-9] + b"!", 7), ("new", noise(3000, 77), 1)])
)
GOOD, _ = written(NEW, BASE)
GOOD_RECIPE = opened(GOOD, BASE).recipe
GROUPS_END = len(GOOD) - len(GOOD_RECIPE.tail())


def with_instructions(**values: Any) -> bytes:
    return GOOD[:GROUPS_END] + replace(GOOD_RECIPE, **values).tail()


def steps(*sequence: recipe.Step) -> recipe.Steps:
    made = recipe.Steps()
    for step in sequence:
        made.append(step)
    return made


def extent(offset: int, size: int) -> recipe.Extent:
    return recipe.Extent(base=0, offset=offset, size=size)


GROUP = GOOD_RECIPE.groups[0]
NEW_BYTES = sum(step for step in GOOD_RECIPE.steps if isinstance(step, int))
REST = NEW.size - NEW_BYTES


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not a recipe that this paddock can read"),
        (b"x" * 100, "is not a recipe"),
        (GOOD[:-1], "bytes of instructions|no instructions"),
        (GOOD[:-8] + (1 << 62).to_bytes(8, "little"), "bytes of instructions"),
        (GOOD[:-8] + bytes(8), "found no instructions"),
        (with_instructions(frames=array("Q", [1])), "frames for 1 bytes, expected"),
        (with_instructions(raw_size=NEW.size - 1), "expected at most"),
        (with_instructions(raw_size=NEW.size + 1), "steps for .* bytes, expected"),
        (with_instructions(groups=()), "found 0 new bytes"),
        (with_instructions(groups=(replace(GROUP, size=1 << 30),)), "expected at most 4194304"),
        (with_instructions(groups=(replace(GROUP, packed=GROUP.packed + 1),)), "groups up to byte"),
        (with_instructions(groups=(replace(GROUP, prefix=(extent(BASE.size, 1),)),)), f"at most {BASE.size}"),
        (with_instructions(groups=(replace(GROUP, prefix=(extent(0, BASE.size),) * 9),)), "at most 8388608"),
        (
            with_instructions(steps=steps(NEW_BYTES, extent(BASE.size - 5, REST))),
            f"expected at most {BASE.size}",
        ),
        (
            with_instructions(groups=(replace(GROUP, prefix=(extent(-5, 9),)),)),
            f"expected at most {BASE.size}",
        ),
        (with_instructions(steps=steps(NEW_BYTES, extent(1 << 60, REST))), f"expected at most {BASE.size}"),
        (with_instructions(bases=()), "expected at most -1"),
        (with_instructions(steps=steps(NEW.size)), f"found {NEW_BYTES} new bytes"),
    ],
)
def test_a_hostile_recipe_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        opened(data, BASE)


@given(place=some.integers(0, len(GOOD) - 1), bit=some.integers(0, 7))
@settings(max_examples=100)
def test_a_changed_bit_never_gives_another_layer(place: int, bit: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= 1 << bit
    try:
        made = b"".join(opened(bytes(data), BASE).stream())
    except (BundleError, KeyError):
        return  # KeyError: this test has no base of the changed name
    assert made == NEW.data  # the bit was of the blob's frames or of a checksum


def test_instructions_cannot_be_a_bomb() -> None:
    bomb = zstd.compress(bytes(64 << 20))
    with pytest.raises(BundleError, match="found no instructions of at most"):
        opened(GOOD[:GROUPS_END] + bomb + len(bomb).to_bytes(8, "little"), BASE)


@given(junk=some.binary(max_size=400))
@settings(max_examples=100)
def test_any_bytes_as_instructions_are_refused_or_harmless(junk: bytes) -> None:
    packed = zstd.compress(junk)
    with pytest.raises(BundleError):
        opened(GOOD[:GROUPS_END] + packed + len(packed).to_bytes(8, "little"), BASE)
