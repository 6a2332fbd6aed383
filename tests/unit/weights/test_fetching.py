"""Fetching sets from Baidu's object store, Hugging Face and ModelScope, also by several processes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from paddock.errors import PreflightError, SourceError, WeightsError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.records import Source, WeightSet, WeightsRole
from paddock.weights import fetching
from paddock.weights.installing import How
from paddock.weights.lockfile import Kind
from programs import PADDOCK
from recording import Recorder
from weight_sources import BadServer, Sets
from weights_directory import VLM, Fetch, contents, locked_sets, visible

HF_LISTING = f"/api/models/PaddlePaddle/{VLM}?blobs=true"
LIMIT = 300  # seconds that a step of another process may take on a busy machine


@pytest.mark.parametrize(
    "top", [f"{VLM}_infer/", f"{VLM}/", "", "./", f"./{VLM}_infer/", f"{VLM}_infer/{VLM}-0.9B/"]
)
def test_a_tar_from_bos_becomes_a_set(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path, top: str
) -> None:
    archive = sets.tar(sets.vlm_files, top)
    path = server.serve_bos(VLM, archive)
    (outcome,) = fetch()
    assert contents(models_dir / VLM) == sets.vlm_files
    assert visible(models_dir) == [VLM, "models.lock.json"]
    assert (outcome.how, outcome.kind, outcome.source) == (How.FETCHED, Kind.OFFICIAL, Source.BOS)
    entry = locked_sets(models_dir)[VLM]
    assert entry["url"] == server.url + path
    assert entry["archive"] == {"size": len(archive), "sha256": hashlib.sha256(archive).hexdigest()}
    assert entry["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sets.vlm_files.items()
    }


def recorded(weights: WeightSet, **hashes: str) -> WeightSet:
    """The set with these hashes, by the stem of the file's name."""
    return dataclasses.replace(
        weights, sha256=FrozenDict({f"{stem}.safetensors": value for stem, value in hashes.items()})
    )


def test_a_file_that_is_not_the_recorded_one_is_refused_whatever_its_source_says(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path, report: Recorder
) -> None:
    """The tar has no hash of its own, Hugging Face and ModelScope publish the hash of the wrong file."""
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.serve_huggingface(VLM, sets.vlm_files)
    server.serve_modelscope(VLM, sets.vlm_files)
    other = recorded(sets.vlm, model="0f" * 32)
    with pytest.raises(WeightsError, match=r"model\.safetensors: found SHA-256 .*, expected 0f0f") as refused:
        fetch(other)
    assert "UNLOCKED_WEIGHTS=1" in refused.value.hint
    with pytest.raises(SourceError, match="no source gave it"):
        fetch(dataclasses.replace(other, bos=None))
    assert report.warned[-1].count("expected 0f0f") == 1
    assert visible(models_dir) == []


def test_a_tar_that_is_not_the_recorded_one_is_not_unpacked(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.serve_huggingface(VLM, sets.vlm_files)
    (outcome,) = fetch(dataclasses.replace(sets.vlm, bos_sha256="0f" * 32))
    assert outcome.source is Source.HUGGINGFACE


def test_the_recorded_files_are_taken_from_any_source(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    digest = hashlib.sha256(sets.vlm_files["model.safetensors"]).hexdigest()
    archive = sets.tar(sets.vlm_files, f"{VLM}_infer/")
    server.serve_bos(VLM, archive)
    known = dataclasses.replace(
        recorded(sets.vlm, model=digest), bos_sha256=hashlib.sha256(archive).hexdigest()
    )
    (outcome,) = fetch(known)
    assert outcome.source is Source.BOS


def test_two_machines_get_the_same_lock(
    fetch: Fetch, server: BadServer, sets: type[Sets], tmp_path: Path
) -> None:
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.serve_bos("PP-DocLayoutV3", sets.tar(sets.layout_files, "PP-DocLayoutV3_infer/"))
    fetch(sets.vlm, sets.layout, to=tmp_path / "one")
    fetch(sets.layout, sets.vlm, to=tmp_path / "two")
    assert (tmp_path / "one/models.lock.json").read_bytes() == (
        tmp_path / "two/models.lock.json"
    ).read_bytes()


def test_a_cut_archive_continues_in_the_next_run(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    archive = sets.tar(sets.vlm_files, f"{VLM}_infer/")
    path = server.serve_bos(VLM, archive)
    server.fail(path, cut_after=100_000)
    for _ in range(3):
        server.fail(path, status=503)
    with pytest.raises(SourceError):
        fetch(source=Source.BOS)
    assert visible(models_dir) == [f".partial-{VLM}"]
    server.asked.clear()
    fetch(source=Source.BOS)
    assert server.ranges(path) == ["bytes=100000-"]
    assert contents(models_dir / VLM) == sets.vlm_files
    assert visible(models_dir) == [VLM, "models.lock.json"]


def test_hugging_face_gives_files_at_one_revision(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_huggingface(VLM, {**sets.vlm_files, ".gitattributes": b"*.bin lfs\n"})
    fetch(source=Source.HUGGINGFACE)
    assert contents(models_dir / VLM) == sets.vlm_files
    entry = locked_sets(models_dir)[VLM]
    assert (entry["source"], entry["url"]) == ("huggingface", f"{server.url}/PaddlePaddle/{VLM}")
    assert entry["revision"] in server.asked[-1].path


def test_hugging_face_is_asked_for_the_locked_revision_again(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_huggingface(VLM, sets.vlm_files)
    fetch(source=Source.HUGGINGFACE)
    before = (models_dir / "models.lock.json").read_bytes()
    shutil.rmtree(models_dir / VLM)
    revision = locked_sets(models_dir)[VLM]["revision"]
    changed = {**sets.vlm_files, "config.json": b'{"new": 1}\n'}
    pinned = dict(server.files)
    server.serve_huggingface(VLM, changed, revision="f" * 40)
    server.files = {**server.files, **{path: pinned[path] for path in pinned if revision in path}}
    fetch()
    assert contents(models_dir / VLM) == sets.vlm_files
    assert (models_dir / "models.lock.json").read_bytes() == before


def test_modelscope_gives_files(fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path) -> None:
    server.serve_modelscope(VLM, sets.vlm_files)
    fetch(source=Source.MODELSCOPE)
    assert contents(models_dir / VLM) == sets.vlm_files
    assert locked_sets(models_dir)[VLM]["url"] == f"{server.url}/models/PaddlePaddle/{VLM}"


def test_finished_files_are_not_fetched_twice(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_huggingface(VLM, sets.vlm_files)
    tokenizer = next(path for path in server.files if path.endswith("tokenizer.json"))
    for _ in range(9):
        server.fail(tokenizer, status=503)
    with pytest.raises(SourceError):
        fetch(source=Source.HUGGINGFACE)
    assert visible(models_dir) == [f".partial-{VLM}"]
    server.asked.clear()
    server.faults.clear()
    fetch(source=Source.HUGGINGFACE)
    assert [asked.path for asked in server.asked] == [HF_LISTING, tokenizer]


def test_files_of_an_older_listing_do_not_stay(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_huggingface(VLM, {**sets.vlm_files, "old/part.bin": b"old"})
    last = next(path for path in server.files if path.endswith("tokenizer.json"))
    server.fail(last, status=404)
    with pytest.raises(SourceError):
        fetch(source=Source.HUGGINGFACE)
    server.serve_huggingface(VLM, sets.vlm_files, revision="f" * 40)
    fetch(source=Source.HUGGINGFACE)
    assert contents(models_dir / VLM) == sets.vlm_files
    assert not (models_dir / VLM / "old").exists()


def test_content_other_than_published_is_refused(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_huggingface(VLM, sets.vlm_files)
    path = next(path for path in server.files if path.endswith("model.safetensors"))
    server.files[path].content = bytes(len(server.files[path].content))
    with pytest.raises(SourceError, match=r"expected .* as published"):
        fetch(source=Source.HUGGINGFACE)
    assert not (models_dir / VLM).exists()


def test_sources_are_tried_in_order_and_said_aloud(
    fetch: Fetch, server: BadServer, sets: type[Sets], report: Recorder, models_dir: Path
) -> None:
    server.serve_modelscope(VLM, sets.vlm_files)
    (outcome,) = fetch()
    assert outcome.source is Source.MODELSCOPE
    assert [warning.split(" does not")[0] for warning in report.warned] == [
        f"{VLM}: bos",
        f"{VLM}: huggingface",
    ]


def test_no_source_at_all_names_each_reason_and_the_way_out(fetch: Fetch, models_dir: Path) -> None:
    with pytest.raises(SourceError) as failure:
        fetch()
    assert failure.value.message.count("404") == 3
    assert "--from" in failure.value.hint
    assert "make-test" in failure.value.hint
    assert visible(models_dir) == []


def test_a_named_source_is_the_only_one(fetch: Fetch, server: BadServer, sets: type[Sets]) -> None:
    server.serve_modelscope(VLM, sets.vlm_files)
    with pytest.raises(SourceError):
        fetch(source=Source.BOS)
    with pytest.raises(SourceError, match="is not at bos"):
        fetch(sets.gguf, source=Source.BOS)


def test_roles_choose_sets(sets: type[Sets]) -> None:
    every = (sets.vlm, sets.gguf, sets.layout)
    assert fetching.wanted(every) == (sets.vlm, sets.layout)
    assert fetching.wanted(every, vlm=WeightsRole.GGUF) == (sets.gguf, sets.layout)
    assert fetching.wanted(every, [WeightsRole.GGUF]) == (sets.gguf,)


def test_a_place_that_cannot_be_written_is_named(fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PreflightError, match="leads through a file, expected folders only"):
        fetch(to=tmp_path / "file" / "models")


def command(server: BadServer, models_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "UNLOCKED_WEIGHTS": "1",  # the server's sets are small ones of ours
        "PADDOCK_BOS_ENDPOINT": server.url,
        "HF_ENDPOINT": server.url,
        "MODELSCOPE_ENDPOINT": server.url,
        "MODELS_DIR": str(models_dir),
    }
    return subprocess.Popen(
        [*PADDOCK, "models", "fetch", "paddleocr-vl-1.6", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_fetches_of_one_set_download_it_once(
    server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    path = server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.fail(path, stall_after=0)
    first = command(server, models_dir, "--role", "vlm")
    assert server.stalled.wait(LIMIT)
    second = command(server, models_dir, "--role", "vlm")
    said = ""
    assert second.stderr is not None
    while "another paddock" not in said:
        line = second.stderr.readline()
        assert line
        said += line
    server.free.set()
    for process in (first, second):
        _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, errors
    assert server.ranges(path) == [None, None]  # the second request is the first process's retry
    assert contents(models_dir / VLM) == sets.vlm_files


def test_ctrl_c_keeps_what_came_and_nothing_half_written(
    server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    archive = sets.tar(sets.vlm_files, f"{VLM}_infer/")
    path = server.serve_bos(VLM, archive)
    server.fail(path, stall_after=150_000)
    running = command(server, models_dir, "--role", "vlm")
    part = models_dir / f".partial-{VLM}" / "bos" / f"{VLM}_infer.tar.part"
    until = time.monotonic() + LIMIT
    while not (part.is_file() and part.stat().st_size > 100_000):
        assert time.monotonic() < until
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=LIMIT)
    assert running.returncode == 130, errors
    assert "continues where this stopped" in errors
    assert visible(models_dir) == [f".partial-{VLM}"]
    left = part.stat().st_size
    again = command(server, models_dir, "--role", "vlm")
    _, errors = again.communicate(timeout=LIMIT)
    assert again.returncode == 0, errors
    assert server.ranges(path) == [None, f"bytes={left}-"]
    assert contents(models_dir / VLM) == sets.vlm_files
    assert visible(models_dir) == [VLM, "models.lock.json"]
