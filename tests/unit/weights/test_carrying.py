"""Sets that are carried in by hand: directories, tars, one set or many."""

from __future__ import annotations

import dataclasses
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from paddock.errors import Interrupted, WeightsError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.weights.installing import How
from paddock.weights.lockfile import Kind
from paddock.weights.markers import TEST_MARKER
from recording import Recorder
from weight_sources import BadServer, Sets
from weights_directory import VLM, Carry, Fetch, contents, visible


@pytest.mark.parametrize("name", [VLM, f"{VLM}_infer", f"{VLM}_infer.tar", f"{VLM}.tar"])
def test_sets_are_carried_in_from_a_folder(
    carry: Carry, sets: type[Sets], models_dir: Path, tmp_path: Path, name: str
) -> None:
    usb = tmp_path / "usb"
    sets.write(usb / "PP-DocLayoutV3", {**sets.layout_files, ".cache/note": b"x"})
    if name.endswith(".tar"):
        (usb / name).write_bytes(sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    else:
        sets.write(usb / name, sets.vlm_files)
    outcomes = carry(usb, sets.vlm, sets.layout)
    assert [(outcome.how, outcome.kind) for outcome in outcomes] == [(How.COPIED, Kind.CARRIED)] * 2
    assert contents(models_dir / VLM) == sets.vlm_files
    assert contents(models_dir / "PP-DocLayoutV3") == sets.layout_files
    assert (models_dir / VLM).stat().st_mtime == 315532800
    assert visible(models_dir) == ["PP-DocLayoutV3", VLM, "models.lock.json"]


@pytest.mark.parametrize("name", [VLM, "my-download", f"{VLM}_infer.tar"])
def test_one_set_alone_is_carried_in(
    carry: Carry, sets: type[Sets], models_dir: Path, tmp_path: Path, name: str, report: Recorder
) -> None:
    place = tmp_path / name
    if name.endswith(".tar"):
        place.write_bytes(sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    else:
        sets.write(place, sets.vlm_files)
    (outcome,) = carry(place, sets.vlm, sets.layout)
    assert (outcome.name, contents(models_dir / VLM)) == (VLM, sets.vlm_files)
    assert bool(report.warned) == (name == "my-download")


def test_a_snapshot_of_links_becomes_files(
    carry: Carry, sets: type[Sets], models_dir: Path, tmp_path: Path
) -> None:
    blobs = sets.write(tmp_path / "blobs", {"1": sets.vlm_files["model.safetensors"]})
    snapshot = sets.write(tmp_path / "usb" / VLM, sets.vlm_files)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(blobs / "1")
    carry(tmp_path / "usb")
    assert contents(models_dir / VLM) == sets.vlm_files


def test_nothing_is_copied_when_one_set_is_absent(
    carry: Carry, sets: type[Sets], models_dir: Path, tmp_path: Path
) -> None:
    sets.write(tmp_path / "usb" / VLM, sets.vlm_files)
    with pytest.raises(WeightsError, match="found no PP-DocLayoutV3"):
        carry(tmp_path / "usb", sets.vlm, sets.layout)
    assert not models_dir.exists()
    with pytest.raises(WeightsError, match="is not there"):
        carry(tmp_path / "nowhere")


def test_carried_test_weights_stay_test_weights(
    carry: Carry, sets: type[Sets], models_dir: Path, tmp_path: Path
) -> None:
    sets.write(tmp_path / "usb" / VLM, {**sets.vlm_files, TEST_MARKER: b"test"})
    (outcome,) = carry(tmp_path / "usb")
    assert outcome.kind is Kind.TEST


def test_carried_weights_are_compared_with_the_lock(
    carry: Carry, fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path, tmp_path: Path
) -> None:
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    shutil.rmtree(models_dir / VLM)
    sets.write(tmp_path / "usb" / VLM, {**sets.vlm_files, "config.json": b"[]\n"})
    with pytest.raises(WeightsError, match=r"config\.json: found SHA-256"):
        carry(tmp_path / "usb")
    assert visible(models_dir) == ["models.lock.json"]


def test_special_files_are_not_carried_in(carry: Carry, sets: type[Sets], tmp_path: Path) -> None:
    os.mkfifo(sets.write(tmp_path / "usb" / VLM, sets.vlm_files) / "pipe")
    with pytest.raises(WeightsError, match="special file"):
        carry(tmp_path / "usb")


def test_ctrl_c_while_copying_leaves_nothing(
    carry: Carry,
    sets: type[Sets],
    models_dir: Path,
    tmp_path: Path,
    report: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sets.write(tmp_path / "usb" / VLM, sets.vlm_files)

    def interrupt(_amount: int, /) -> None:
        assert any(path.is_file() for path in (models_dir / f".partial-{VLM}" / "tree").rglob("*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "progress", lambda *_, **__: nullcontext(interrupt))
    with pytest.raises(Interrupted):
        carry(tmp_path / "usb")
    assert visible(models_dir) == []


def test_carried_weights_are_compared_with_what_is_recorded(
    carry: Carry, sets: type[Sets], models_dir: Path, tmp_path: Path
) -> None:
    """Also those that somebody has put into the models directory by hand."""
    known = dataclasses.replace(sets.vlm, sha256=FrozenDict({"model.safetensors": "0f" * 32}))
    usb = sets.write(tmp_path / "usb" / VLM, sets.vlm_files).parent
    with pytest.raises(WeightsError, match=r"differs from the PaddleOCR-VL-1\.6 that is recorded"):
        carry(usb, known)
    assert visible(models_dir) == []
    sets.write(models_dir / VLM, sets.vlm_files)
    with pytest.raises(WeightsError, match=r"differs from the PaddleOCR-VL-1\.6 that is recorded"):
        carry(usb, known)
    assert visible(models_dir) == [VLM]
