"""What the tree of a YAML file holds; most refusals are cases of test_strictyaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import DataError
from paddock.matrix.yamltree import Map, Place, Scalar, read_tree


def write(folder: Path, text: str, name: str = "input") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def scalar(folder: Path, text: str) -> Scalar:
    tree, _ = read_tree(write(folder, f"key: {text}\n"))
    node = tree.values["key"]
    assert isinstance(node, Scalar)
    return node


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("word", "word"),
        ("two words", "two words"),
        ('"12"', "12"),
        ("'true'", "true"),
        ("true", True),
        ("null", None),
        ("0", 0),
        ("-12", -12),
        ("12.10", 12.1),
        ("1e3", 1000.0),
    ],
)
def test_a_scalar_that_everybody_reads_alike(tmp_path: Path, text: str, value: object) -> None:
    found = scalar(tmp_path, text)
    assert found.is_clear
    assert (found.value, type(found.value)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["yes", "No", "0123", "0x1f", "1_000", "1:30", ".inf", "1e999", "2026-11-30", "~", ""]
)
def test_a_scalar_on_which_readers_disagree(tmp_path: Path, text: str) -> None:
    assert not scalar(tmp_path, text).is_clear


def test_every_node_has_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "first: 1\nsecond:\n  inner: [a, b]\n")
    tree, parents = read_tree(path)
    second = tree.values["second"]
    assert parents == ()
    assert isinstance(second, Map)
    assert tree.keys["second"] == Place(path=path, line=2, column=1)
    assert second.values["inner"].place == Place(path=path, line=3, column=10)


def test_parents_are_told_nearest_first(tmp_path: Path) -> None:
    write(tmp_path, "a: 1\n", "_a")
    write(tmp_path, "extends: _a\nb: 2\n", "_b")
    tree, parents = read_tree(write(tmp_path, "extends: _b\nc: 3\n"))
    assert parents == ("_b", "_a")
    assert list(tree.values) == ["a", "b", "c"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"input\.yaml:1:1: cannot be read: No such file"):
        read_tree(tmp_path / "input.yaml")


def test_a_longer_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: b\n", "a")
    path = write(tmp_path, "extends: c\n", "b")
    write(tmp_path, "extends: a\n", "c")
    with pytest.raises(DataError, match=r"a\.yaml:1:10: extends: found the circle b -> c -> a -> b"):
        read_tree(path)
