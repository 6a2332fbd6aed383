"""Sets that are here already, differ from the lock file, were put there by hand, or are made here."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from paddock.errors import SourceError, WeightsError
from paddock.weights import checking, installing
from paddock.weights.installing import How
from paddock.weights.lockfile import Kind
from paddock.weights.markers import TEST_MARKER
from recording import Recorder
from weight_sources import BadServer, Sets
from weights_directory import VLM, Fetch, contents, locked_sets, visible


def test_again_does_nothing(fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path) -> None:
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    before = (models_dir / "models.lock.json").stat().st_mtime_ns
    server.asked.clear()
    (outcome,) = fetch()
    assert outcome.how is How.HERE
    assert server.asked == []
    assert (models_dir / "models.lock.json").stat().st_mtime_ns == before


def test_a_set_that_differs_from_its_lock_is_refused_until_replaced(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    shutil.rmtree(models_dir / VLM)
    changed = {**sets.vlm_files, "config.json": b"[]\n"}
    server.serve_bos(VLM, sets.tar(changed, f"{VLM}_infer/"))
    found = hashlib.sha256(changed["config.json"]).hexdigest()
    expected = hashlib.sha256(sets.vlm_files["config.json"]).hexdigest()
    with pytest.raises(WeightsError) as failure:
        fetch()
    assert f"config.json: found SHA-256 {found}, expected {expected}" in failure.value.message
    assert "--replace" in failure.value.hint
    assert visible(models_dir) == ["models.lock.json"]
    fetch(replace=True)
    assert contents(models_dir / VLM) == changed
    assert locked_sets(models_dir)[VLM]["files"]["config.json"]["sha256"] == found


def test_a_set_that_lost_a_file_is_noticed_at_once(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    (models_dir / VLM / "tokenizer.json").unlink()
    (models_dir / VLM / "config.json").write_bytes(b"other")
    with pytest.raises(
        WeightsError, match=r"config.json: found 5 bytes, expected 3\n.*tokenizer.json: found no file"
    ):
        fetch()
    fetch(replace=True)
    assert contents(models_dir / VLM) == sets.vlm_files


def test_an_unrecorded_set_is_recorded(
    fetch: Fetch, sets: type[Sets], models_dir: Path, report: Recorder
) -> None:
    sets.write(models_dir / VLM, sets.vlm_files)
    (outcome,) = fetch()
    assert (outcome.how, outcome.kind) == (How.ADOPTED, Kind.CARRIED)
    assert "not in models.lock.json" in report.warned[0]
    assert checking.check(models_dir, report=report)[0].problems == ()


def test_test_weights_give_way_but_stay_when_nothing_comes(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path, report: Recorder
) -> None:
    sets.write(models_dir / VLM, {**sets.vlm_files, "config.json": b"test"})
    installing.record(models_dir, VLM, kind=Kind.TEST, report=report)
    with pytest.raises(SourceError):
        fetch()
    assert checking.kind_of(models_dir, VLM) is Kind.TEST
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    assert checking.kind_of(models_dir, VLM) is Kind.OFFICIAL
    assert contents(models_dir / VLM) == sets.vlm_files
    assert visible(models_dir) == [VLM, "models.lock.json"]


def test_what_is_made_here_is_published_whole(
    sets: type[Sets], models_dir: Path, report: Recorder, tmp_path: Path
) -> None:
    tree = sets.write(tmp_path / "made", {**sets.layout_files, TEST_MARKER: b"test"})
    outcome = installing.publish(tree, sets.layout, models_dir=models_dir, kind=Kind.TEST, report=report)
    assert (outcome.path, outcome.kind) == (models_dir / "PP-DocLayoutV3", Kind.TEST)
    assert not tree.exists()
    assert checking.check(models_dir, ["PP-DocLayoutV3"], report=report)[0].problems == ()
    incomplete = sets.write(tmp_path / "made", {"inference.yml": b"{}"})
    with pytest.raises(WeightsError, match="pdiparams"):
        installing.publish(incomplete, sets.layout, models_dir=models_dir, kind=Kind.TEST, report=report)
    assert checking.kind_of(models_dir, "PP-DocLayoutV3") is Kind.TEST
