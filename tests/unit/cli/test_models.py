"""`paddock models` as it is typed: what is refused, and what an empty directory looks like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.door import run


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("fetch paddleocr-vl --source bos --from .", 2, "--source and --from: found both"),
        ("fetch no-such-model", 2, 'unknown model "no-such-model"'),
        ("fetch paddleocr-vl --backend no-such", 2, 'unknown backend "no-such"'),
        ("fetch ernie-4.5-vl-424b --role layout", 2, "found no weights with the role layout"),
        ("make-test no-such-model", 2, 'unknown model "no-such-model"'),
        ("make-test paddleocr-vl --target no-such", 2, 'unknown target "no-such"'),
    ],
)
def test_refused(
    arguments: str, status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *others = arguments.split()
    assert run(["models", command, "--to", str(tmp_path), *others]) == status
    assert words in capsys.readouterr().err


def test_an_empty_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--to", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == ["SET", "KIND", "SOURCE", "SIZE", "NEEDED", "BY"]
    assert "no weights are here" in printed.err


def test_a_set_that_nobody_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "UVDoc").mkdir()
    (tmp_path / "UVDoc/inference.yml").write_text("x")
    assert run(["models", "list", "--to", str(tmp_path), "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert list(record) == ["name", "kind", "source", "size", "files", "path", "needed_by"]
    assert (record["name"], record["kind"], record["files"]) == ("UVDoc", None, 1)
    assert run(["models", "check", "--to", str(tmp_path), "--json"]) == 7
    (record,) = json.loads(capsys.readouterr().out)
    assert list(record) == ["name", "kind", "files", "size", "problems"]
    assert record["problems"]
