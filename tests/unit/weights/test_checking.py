"""Checking sets against the lock file."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from paddock.errors import WeightsError
from paddock.weights import checking
from recording import Recorder
from weights_directory import VLM


def test_check_names_every_bad_file(fetched: Path, report: Recorder) -> None:
    assert [checked.problems for checked in checking.check(fetched, report=report)] == [(), ()]
    model = fetched / VLM / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[1000] ^= 1
    model.write_bytes(content)
    (fetched / VLM / "extra.txt").write_text("x")
    (fetched / "PP-DocLayoutV3/inference.json").unlink()
    (fetched / "stray").mkdir()
    with pytest.raises(WeightsError) as failure:
        checking.check(fetched, report=report)
    for words in (
        "4 problem(s)",
        f"{VLM}/model.safetensors: found SHA-256 {hashlib.sha256(content).hexdigest()}, expected ",
        f"{VLM}/extra.txt: found a file that is not in models.lock.json",
        "PP-DocLayoutV3/inference.json: found no file",
        "stray: found no entry",
    ):
        assert words in failure.value.message
    assert failure.value.exit_code == 7


def test_check_sees_sets_that_are_gone_and_links(fetched: Path, report: Recorder) -> None:
    shutil.rmtree(fetched / VLM)
    (fetched / "PP-DocLayoutV3/link").symlink_to("/etc/hostname")
    linked, gone = checking.inspect(fetched, report=report)
    assert gone.problems == (f"{VLM}: found no directory, expected the set",)
    assert "a link or special file" in linked.problems[0]
    with pytest.raises(WeightsError, match="unheard-of: found no directory"):
        checking.check(fetched, ["unheard-of"], report=report)


def test_check_of_nothing_fails(tmp_path: Path, report: Recorder) -> None:
    with pytest.raises(WeightsError, match="found no weights"):
        checking.check(tmp_path, report=report)
