"""Every value in `templates/` says where it comes from, or why it is so.

It does with a comment: on its own line, right above it, or at one of the keys that it stands under. Some
values are their own reason: text for people, names that only our own files use, addresses that say whose they
are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from paddock import paths

FILES = sorted(path for path in paths.templates().glob("*/*.yaml"))
# What people read, and what names another of our files or parts: no source outside of here.
_OWN = """
    description extends reason refuses no_upstream bad_images meaning origin because why instead template
    configuration role name default_backend default_model tasks accelerator device debootstrap package
    weights_role by_memory default_for compiles vendor platform_images
"""
OWN = frozenset(_OWN.split())
ADDRESSED = {"huggingface", "modelscope", "bos"}  # the address says whose it is


def tree_of(text: str) -> yaml.Node:
    """A document with the places of its values."""
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    assert tree is not None
    return tree


def leaves_with_origin(node: yaml.Node) -> set[int]:
    """The lines of the values that have a key `origin` or `reason` beside them."""
    found: set[int] = set()
    if isinstance(node, yaml.MappingNode):
        if {"origin", "reason"} & {key.value for key, _ in node.value}:
            found |= {value.start_mark.line for _, value in node.value}
        for _, value in node.value:
            found |= leaves_with_origin(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            found |= leaves_with_origin(value)
    return found


def leaves(
    node: yaml.Node, above: tuple[tuple[str, int], ...] = ()
) -> Iterator[tuple[tuple[tuple[str, int], ...], yaml.Node]]:
    """Each scalar with the keys that it stands under, and their lines from 0."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from leaves(value, (*above, (key.value, key.start_mark.line)))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from leaves(value, above)
    else:
        yield above, node


def told(lines: list[str], keys: tuple[tuple[str, int], ...], node: yaml.Node) -> bool:
    """Whether a comment stands at this value, on any of its lines, or at a key above it."""
    places = [(node.start_mark.line, node.end_mark.line), *((line, line) for _, line in keys)]
    for first, last in places:
        own = lines[first : min(last + 1, len(lines))]
        if any(" #" in line for line in own) or (first and lines[first - 1].lstrip().startswith("#")):
            return True
    return False


def told_somewhere(files: Iterable[Path]) -> frozenset[tuple[str, str]]:
    """Last key and value of all that has a source in these files: it has the same one wherever it recurs."""
    found = set()
    for path in files:
        text = path.read_text("utf-8")
        for keys, node in leaves(tree_of(text)):
            if told(text.splitlines(), keys, node):
                found.add((keys[-1][0], node.value))
    return frozenset(found)


def untold(path: Path, elsewhere: Collection[tuple[str, str]] = ()) -> list[str]:
    """The values of a file without a source, by file, line and keys."""
    text = path.read_text("utf-8")
    tree = tree_of(text)
    with_origin = leaves_with_origin(tree)
    found = []
    for keys, node in leaves(tree):
        names = [name for name, _ in keys]
        known = node.start_mark.line in with_origin or (names[-1], node.value) in elsewhere
        of_the_card = names == ["memory"]  # a profile's own: its description says it
        ours = (
            OWN & set(names)
            or ADDRESSED & set(names)
            or node.value.startswith("debian:")
            or "${" in node.value
        )
        if not (known or of_the_card or ours or told(text.splitlines(), keys, node)):
            found.append(f"{path.name}:{node.start_mark.line + 1}: {'.'.join(names)}")
    return found


TOLD = told_somewhere(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_value_names_its_source_or_reason(path: Path) -> None:
    assert untold(path, TOLD) == []


def test_there_is_much_to_check() -> None:
    assert len(FILES) > 10
    values = [node for path in FILES for _, node in leaves(tree_of(path.read_text("utf-8")))]
    assert len(values) > 300


def test_a_value_without_a_source_is_found(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("# What this file is for.\n\nsettings:\n  known: 1 # a document\n  unknown: 2\n")
    assert untold(path) == ["one.yaml:5: settings.unknown"]
