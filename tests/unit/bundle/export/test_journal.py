"""The journal of an export: read back, cut to what is whole, refused when it is damaged."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from paddock.bundle.export.journal import NAME, Finished, Journal, written_layers
from paddock.bundle.format.manifest import Blob, Carried, Layer
from paddock.bundle.layers.softwarelist import Software
from paddock.errors import BundleError


def finished(number: int) -> Finished:
    digest = f"sha256:{number:064x}"
    return Finished(
        layer=Layer(diff_id=digest, raw_size=3, digest=digest, size=2, carried=Carried.WHOLE),
        blob=Blob(digest=digest, size=2, offset=512),
        end=1024,
        software=Software(),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export that has finished two layers."""
    journal = Journal(tmp_path, "key")
    for number in (1, 2):
        journal.add(finished(number))
    return tmp_path


def test_no_export_has_no_layers(tmp_path: Path) -> None:
    assert written_layers(tmp_path) == ()


def test_layers_are_read_back(folder: Path) -> None:
    assert written_layers(folder) == (finished(1), finished(2))
    assert Journal(folder, "key").finished == (finished(1), finished(2))


def test_another_export_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="unfinished export of other images"):
        Journal(folder, "another key")


def test_a_line_that_was_cut_off_does_not_count(folder: Path) -> None:
    path = folder / NAME
    path.write_bytes(path.read_bytes()[:-10])
    journal = Journal(folder, "key")
    journal.add(finished(3))
    assert written_layers(folder) == journal.finished == (finished(1), finished(3))


def test_layers_behind_a_damaged_one_are_forgotten(folder: Path) -> None:
    Journal(folder, "key").keep(1)
    assert written_layers(folder) == (finished(1),)


def test_a_complete_export_has_no_journal(folder: Path) -> None:
    Journal(folder, "key").remove()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "found a list, expected an object"),
        (json.dumps(asdict(finished(2)) | {"end": "1024"}), "end: found a string, expected an integer"),
        (json.dumps({"key": "key"}), "missing or unknown"),
    ],
)
def test_a_damaged_line_is_refused(folder: Path, line: str, words: str) -> None:
    path = folder / NAME
    path.write_text("".join([*path.read_text().splitlines(keepends=True)[:2], f"{line}\n"]))
    with pytest.raises(BundleError, match=f"{NAME}: .*{words}") as refused:
        Journal(folder, "key")
    assert "export again" in refused.value.hint
