"""Matching: what of a new layer is found in the bases, seen from the size of the recipe."""

from __future__ import annotations

from layer_files import MemoryLayer, noise
from samples.recipes import BASE, LIBRARY, PACKAGES, rebuilds, tar, written


def test_equal_layers_cost_nothing() -> None:
    done = rebuilds(BASE, BASE)
    assert (done.new, done.size < 600) == (0, True)


def test_one_changed_package_costs_its_change() -> None:
    changed = [("site/p9/m.py", noise(40_009, 9)[:20_000] + b"# a new line\n" + noise(40_009, 9)[20_000:], 8)]
    done = rebuilds(
        MemoryLayer(tar([*PACKAGES[:9], *changed, *PACKAGES[10:], ("site/lib.so", LIBRARY, 7)])), BASE
    )
    assert done.new < 50_000
    assert done.size < 1000


def test_new_times_cost_headers_only() -> None:
    done = rebuilds(
        MemoryLayer(tar([(name, body, 9) for name, body, _ in [*PACKAGES, ("site/lib.so", LIBRARY, 7)]])),
        BASE,
    )
    assert done.new < 1024 * 202
    assert done.size < 3000


def test_a_version_in_a_path_does_not_hide_the_file_before() -> None:
    old = MemoryLayer(tar([("site/p-1.0.dist-info/RECORD", noise(60_000, 1), 7)]))
    done = rebuilds(MemoryLayer(tar([("site/p-1.1.dist-info/RECORD", noise(60_000, 1)[:-1] + b"!", 7)])), old)
    assert done.size < 1000


def test_scattered_changes_in_a_large_file_are_patched() -> None:
    library = bytearray(LIBRARY)
    for place in range(500, len(library), 30_000):  # no chunk stays as it was
        library[place] ^= 1
    moved = noise(100_000, 1000) + bytes(library)
    done = rebuilds(MemoryLayer(tar([*PACKAGES, ("site/lib.so", moved, 7)])), BASE)
    assert done.new > 10_000_000
    assert done.size < 100_000 + 30_000


def test_bytes_come_from_several_bases_and_only_those_are_named() -> None:
    other, unused = (
        MemoryLayer(tar([("x", noise(500_000, 70), 1)])),
        MemoryLayer(tar([("y", noise(500_000, 71), 1)])),
    )
    new = MemoryLayer(tar([("site/lib.so", LIBRARY, 7), ("x", noise(500_000, 70), 1)]))
    done = rebuilds(new, unused, BASE, other)
    assert done.bases == (BASE.diff_id, other.diff_id)
    assert done.size < 2000


def test_a_recipe_that_gains_nothing_is_given_up() -> None:
    _, done = written(MemoryLayer(noise(200_000, 5)), BASE, most=100_000)
    assert done is None
