"""Fetching weight sets from the three sources, carrying them in, and checking them ever after."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from paddock.door import run
from paddock.errors import Interrupted, PreflightError, SourceError, WeightsError
from paddock.matrix.records import Source, WeightsRole
from paddock.weights import carrying, checking, fetching, installing, lockfile, markers, setfiles
from paddock.weights.installing import How
from paddock.weights.lockfile import Kind
from paddock.weights.markers import TEST_MARKER
from paddock.weights.sources import Endpoints

VLM = "PaddleOCR-VL-1.6"
HF_LISTING = f"/api/models/PaddlePaddle/{VLM}?blobs=true"
PATIENT_ENOUGH = 60  # seconds that a subprocess of these tests may take


@pytest.fixture
def models_dir(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def fetch(server, report, hasty, models_dir, sets):
    def call(*chosen, to=models_dir, **options):
        return fetching.fetch(
            chosen or (sets.vlm,),
            models_dir=to,
            report=report,
            endpoints=server.endpoints,
            patience=hasty,
            **options,
        )

    return call


@pytest.fixture
def carry(report, models_dir, sets):
    def call(carried, *chosen, **options):
        return carrying.carry(
            chosen or (sets.vlm,), carried=carried, models_dir=models_dir, report=report, **options
        )

    return call


def contents(directory):
    return {path: file.read_bytes() for path, file in setfiles.files_of(directory).items()}


def lock(models_dir):
    return json.loads((models_dir / "models.lock.json").read_bytes())["sets"]


def visible(models_dir):
    """What lies in the models directory, apart from the file that processes take turns by."""
    return sorted(path.name for path in models_dir.iterdir() if path.name != ".lock")


# --- from BOS -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "top", [f"{VLM}_infer/", f"{VLM}/", "", "./", f"./{VLM}_infer/", f"{VLM}_infer/{VLM}-0.9B/"]
)
def test_a_tar_from_bos_becomes_a_set(fetch, server, sets, models_dir, top):
    archive = sets.tar(sets.vlm_files, top)
    path = server.serve_bos(VLM, archive)
    (outcome,) = fetch()
    assert contents(models_dir / VLM) == sets.vlm_files
    assert visible(models_dir) == [VLM, "models.lock.json"]
    assert (outcome.how, outcome.kind, outcome.source) == (How.FETCHED, Kind.OFFICIAL, Source.BOS)
    entry = lock(models_dir)[VLM]
    assert entry["url"] == server.url + path
    assert entry["archive"] == {"size": len(archive), "sha256": hashlib.sha256(archive).hexdigest()}
    assert entry["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sets.vlm_files.items()
    }


def test_modes_and_times_follow_from_the_content(fetch, server, sets, models_dir):
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    directory = models_dir / VLM
    for path in (directory, *directory.rglob("*")):
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644)
    for name, content in sets.vlm_files.items():
        follows = int(hashlib.sha256(content).hexdigest()[:8], 16) % 2**30
        assert (directory / name).stat().st_mtime == 315532800 + follows, name
    assert directory.stat().st_mtime == 315532800


def test_two_machines_get_the_same_lock(fetch, server, sets, tmp_path):
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.serve_bos("PP-DocLayoutV3", sets.tar(sets.layout_files, "PP-DocLayoutV3_infer/"))
    fetch(sets.vlm, sets.layout, to=tmp_path / "one")
    fetch(sets.layout, sets.vlm, to=tmp_path / "two")
    assert (tmp_path / "one/models.lock.json").read_bytes() == (
        tmp_path / "two/models.lock.json"
    ).read_bytes()


def test_a_cut_archive_continues_in_the_next_run(fetch, server, sets, models_dir):
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


# --- from Hugging Face and ModelScope -----------------------------------------------------------------------


def test_hugging_face_gives_files_at_one_revision(fetch, server, sets, models_dir):
    server.serve_huggingface(VLM, {**sets.vlm_files, ".gitattributes": b"*.bin lfs\n"})
    fetch(source=Source.HUGGINGFACE)
    assert contents(models_dir / VLM) == sets.vlm_files
    entry = lock(models_dir)[VLM]
    assert (entry["source"], entry["url"]) == ("huggingface", f"{server.url}/PaddlePaddle/{VLM}")
    assert entry["revision"] in server.asked[-1].path


def test_hugging_face_is_asked_for_the_locked_revision_again(fetch, server, sets, models_dir):
    server.serve_huggingface(VLM, sets.vlm_files)
    fetch(source=Source.HUGGINGFACE)
    before = (models_dir / "models.lock.json").read_bytes()
    shutil.rmtree(models_dir / VLM)
    revision = lock(models_dir)[VLM]["revision"]
    changed = {**sets.vlm_files, "config.json": b'{"new": 1}\n'}
    pinned = dict(server.files)
    server.serve_huggingface(VLM, changed, revision="f" * 40)
    server.files = {**server.files, **{path: pinned[path] for path in pinned if revision in path}}
    fetch()
    assert contents(models_dir / VLM) == sets.vlm_files
    assert (models_dir / "models.lock.json").read_bytes() == before


def test_modelscope_gives_files(fetch, server, sets, models_dir):
    server.serve_modelscope(VLM, sets.vlm_files)
    fetch(source=Source.MODELSCOPE)
    assert contents(models_dir / VLM) == sets.vlm_files
    assert lock(models_dir)[VLM]["url"] == f"{server.url}/models/PaddlePaddle/{VLM}"


def test_finished_files_are_not_fetched_twice(fetch, server, sets, models_dir):
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


def test_files_of_an_older_listing_do_not_stay(fetch, server, sets, models_dir):
    server.serve_huggingface(VLM, {**sets.vlm_files, "old/part.bin": b"old"})
    last = next(path for path in server.files if path.endswith("tokenizer.json"))
    server.fail(last, status=404)
    with pytest.raises(SourceError):
        fetch(source=Source.HUGGINGFACE)
    server.serve_huggingface(VLM, sets.vlm_files, revision="f" * 40)
    fetch(source=Source.HUGGINGFACE)
    assert contents(models_dir / VLM) == sets.vlm_files
    assert not (models_dir / VLM / "old").exists()


def test_content_other_than_published_is_refused(fetch, server, sets, models_dir):
    server.serve_huggingface(VLM, sets.vlm_files)
    path = next(path for path in server.files if path.endswith("model.safetensors"))
    server.files[path].content = bytes(len(server.files[path].content))
    with pytest.raises(SourceError, match=r"expected .* as published"):
        fetch(source=Source.HUGGINGFACE)
    assert not (models_dir / VLM).exists()


@pytest.mark.parametrize(
    "answer",
    [[], {}, {"sha": 1, "siblings": []}, {"sha": "a", "siblings": []}, {"sha": "a", "siblings": [{}]}, "x"],
)
def test_an_answer_that_is_no_listing_is_refused(fetch, server, answer):
    server.serve_json(HF_LISTING, answer)
    with pytest.raises(SourceError, match="expected"):
        fetch(source=Source.HUGGINGFACE)


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/../../evil", "a\nb", ""])
def test_a_listing_cannot_write_outside(fetch, server, sets, models_dir, tmp_path, name):
    server.serve_huggingface(VLM, {**sets.vlm_files, name: b"evil"})
    with pytest.raises(WeightsError, match="expected a path below"):
        fetch(source=Source.HUGGINGFACE)
    assert not list(tmp_path.rglob("evil"))
    assert visible(models_dir) == []


def test_a_listing_that_modelscope_cut_is_refused(fetch, server):
    files = [{"Path": f"f{n}", "Type": "blob", "Size": 1, "Sha256": "0" * 64} for n in range(3000)]
    path = f"/api/v1/models/PaddlePaddle/{VLM}/repo/files?Revision=master&Recursive=true"
    server.serve_json(path, {"Data": {"Files": files}})
    with pytest.raises(SourceError, match="3000 files"):
        fetch(source=Source.MODELSCOPE)


# --- which source -------------------------------------------------------------------------------------------


def test_sources_are_tried_in_order_and_said_aloud(fetch, server, sets, report, models_dir):
    server.serve_modelscope(VLM, sets.vlm_files)
    (outcome,) = fetch()
    assert outcome.source is Source.MODELSCOPE
    assert [warning.split(" does not")[0] for warning in report.warnings] == [
        f"{VLM}: bos",
        f"{VLM}: huggingface",
    ]


def test_no_source_at_all_names_each_reason_and_the_way_out(fetch, models_dir):
    with pytest.raises(SourceError) as failure:
        fetch()
    assert failure.value.message.count("404") == 3
    assert "--from" in failure.value.hint
    assert "make-test" in failure.value.hint
    assert visible(models_dir) == []


def test_a_named_source_is_the_only_one(fetch, server, sets):
    server.serve_modelscope(VLM, sets.vlm_files)
    with pytest.raises(SourceError):
        fetch(source=Source.BOS)
    with pytest.raises(SourceError, match="is not at bos"):
        fetch(sets.gguf, source=Source.BOS)


def test_mirrors_come_from_the_environment():
    assert Endpoints.of({}) == Endpoints()
    found = Endpoints.of(
        {"HF_ENDPOINT": "https://m/", "MODELSCOPE_ENDPOINT": " ", "PADDOCK_BOS_ENDPOINT": "http://b"}
    )
    assert found == Endpoints(huggingface="https://m", bos="http://b")


def test_roles_choose_sets(sets):
    every = (sets.vlm, sets.gguf, sets.layout)
    assert fetching.wanted(every) == (sets.vlm, sets.layout)
    assert fetching.wanted(every, vlm=WeightsRole.GGUF) == (sets.gguf, sets.layout)
    assert fetching.wanted(every, [WeightsRole.GGUF]) == (sets.gguf,)


# --- again, and against the lock ----------------------------------------------------------------------------


def test_again_does_nothing(fetch, server, sets, models_dir):
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    before = (models_dir / "models.lock.json").stat().st_mtime_ns
    server.asked.clear()
    (outcome,) = fetch()
    assert outcome.how is How.HERE
    assert server.asked == []
    assert (models_dir / "models.lock.json").stat().st_mtime_ns == before


def test_a_set_that_differs_from_its_lock_is_refused_until_replaced(fetch, server, sets, models_dir):
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    shutil.rmtree(models_dir / VLM)
    changed = {**sets.vlm_files, "config.json": b"[]\n"}
    server.serve_bos(VLM, sets.tar(changed, f"{VLM}_infer/"))
    found, expected = (hashlib.sha256(each["config.json"]).hexdigest() for each in (changed, sets.vlm_files))
    with pytest.raises(WeightsError) as failure:
        fetch()
    assert f"config.json: found SHA-256 {found}, expected {expected}" in failure.value.message
    assert "--replace" in failure.value.hint
    assert visible(models_dir) == ["models.lock.json"]
    fetch(replace=True)
    assert contents(models_dir / VLM) == changed
    assert lock(models_dir)[VLM]["files"]["config.json"]["sha256"] == found


def test_a_set_that_lost_a_file_is_noticed_at_once(fetch, server, sets, models_dir):
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


def test_an_unrecorded_set_is_recorded(fetch, sets, models_dir, report):
    sets.write(models_dir / VLM, sets.vlm_files)
    (outcome,) = fetch()
    assert (outcome.how, outcome.kind) == (How.ADOPTED, Kind.CARRIED)
    assert "not in models.lock.json" in report.warnings[0]
    assert checking.check(models_dir, report=report)[0].problems == ()


def test_test_weights_give_way_but_stay_when_nothing_comes(fetch, server, sets, models_dir, report):
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


def test_what_is_made_here_is_published_whole(sets, models_dir, report, tmp_path):
    tree = sets.write(tmp_path / "made", {**sets.layout_files, TEST_MARKER: b"test"})
    outcome = installing.publish(tree, sets.layout, models_dir=models_dir, kind=Kind.TEST, report=report)
    assert (outcome.path, outcome.kind) == (models_dir / "PP-DocLayoutV3", Kind.TEST)
    assert not tree.exists()
    assert checking.check(models_dir, ["PP-DocLayoutV3"], report=report)[0].problems == ()
    incomplete = sets.write(tmp_path / "made", {"inference.yml": b"{}"})
    with pytest.raises(WeightsError, match="pdiparams"):
        installing.publish(incomplete, sets.layout, models_dir=models_dir, kind=Kind.TEST, report=report)
    assert checking.kind_of(models_dir, "PP-DocLayoutV3") is Kind.TEST


def test_the_marker_of_test_weights_has_one_name():
    assert markers.TEST_MARKER == TEST_MARKER


# --- unsafe and broken archives -----------------------------------------------------------------------------


def member(name, kind=tarfile.REGTYPE, link="", content=b""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, len(content)
    return made, content


def tar_of(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for made, content in members:
            archive.addfile(made, io.BytesIO(content))
    return buffer.getvalue()


def usual(sets):
    return [member(f"{VLM}_infer/{name}", content=content) for name, content in sets.vlm_files.items()]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([member("../evil", content=b"x")], "expected a path below"),
        ([member("/tmp/evil", content=b"x")], "expected a path below"),
        ([member("a/../../evil", content=b"x")], "expected a path below"),
        ([member(f"{VLM}_infer/evil", tarfile.SYMTYPE, "/etc/passwd")], "links inside"),
        ([member(f"{VLM}_infer/evil", tarfile.SYMTYPE, "../../outside")], "links inside"),
        ([member(f"{VLM}_infer/evil", tarfile.LNKTYPE, "../outside")], "links inside"),
        ([member(f"{VLM}_infer/evil", tarfile.SYMTYPE, "nothing")], "to name a file in the archive"),
        ([member("evil", tarfile.SYMTYPE, "evil")], "to name a file in the archive"),
        ([member("d", tarfile.SYMTYPE, f"{VLM}_infer"), member("d/evil", content=b"x")], "to name a file"),
        ([member("evil", tarfile.CHRTYPE)], "special file"),
        ([member("evil", tarfile.BLKTYPE)], "special file"),
        ([member("evil", tarfile.FIFOTYPE)], "special file"),
        ([member(f"{VLM}_infer/config.json", content=b"again")], "twice"),
        ([member(f"./{VLM}_infer//config.json", content=b"again")], "twice"),
        ([member(f"{VLM}_infer/config.json/evil", content=b"x")], "as a file and as a directory"),
        (
            [member(f"evil{n}", tarfile.LNKTYPE, f"{VLM}_infer/model.safetensors") for n in range(9)],
            "twice the archive",
        ),
    ],
)
def test_an_unsafe_tar_writes_nothing(fetch, server, sets, models_dir, tmp_path, bad, words):
    server.serve_bos(VLM, tar_of(*usual(sets), *bad))
    with pytest.raises(WeightsError, match=words):
        fetch()
    assert visible(models_dir) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["models"]
    assert not Path("/tmp/evil").exists()


def test_links_inside_the_tree_become_files(fetch, server, sets, models_dir):
    links = [
        member(f"{VLM}_infer/sub/model.bin", tarfile.SYMTYPE, "../link.bin"),
        member(f"{VLM}_infer/link.bin", tarfile.LNKTYPE, f"{VLM}_infer/config.json"),
    ]
    server.serve_bos(VLM, tar_of(*usual(sets), *links))
    fetch()
    assert (models_dir / VLM / "sub/model.bin").read_bytes() == sets.vlm_files["config.json"]
    assert not any(path.is_symlink() for path in (models_dir / VLM).rglob("*"))


def _cut_before_the_last_file(archive):
    return archive[: archive.rindex(b"sub/chat_template") // 512 * 512]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda archive: archive[: len(archive) // 2],
        _cut_before_the_last_file,
        lambda archive: archive[:512] + archive[512:].replace(b"ustar", b"xxxxx"),
        lambda archive: b"",
        lambda archive: b"<html>no such file</html>",
        gzip.compress,
    ],
    ids=["cut in a file", "cut between files", "damaged header", "empty", "a page", "compressed"],
)
def test_a_broken_tar_is_refused_and_fetched_anew(fetch, server, sets, models_dir, spoil):
    whole = sets.tar(sets.vlm_files, "")
    path = server.serve_bos(VLM, spoil(whole))
    with pytest.raises(WeightsError) as failure:
        fetch()
    assert not isinstance(failure.value, SourceError)
    assert visible(models_dir) == []
    server.serve(path, whole)
    fetch()
    assert contents(models_dir / VLM) == sets.vlm_files


def test_a_tar_without_what_a_set_needs_is_refused(fetch, server, sets, models_dir):
    server.serve_bos(VLM, sets.tar({"config.json": b"{}"}, f"{VLM}_infer/"))
    with pytest.raises(
        WeightsError, match=r"found no \*\.safetensors, no tokenizer\.json or tokenizer\.model"
    ):
        fetch()
    assert visible(models_dir) == []


# --- carried by hand ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [VLM, f"{VLM}_infer", f"{VLM}_infer.tar", f"{VLM}.tar"])
def test_sets_are_carried_in_from_a_folder(carry, sets, models_dir, tmp_path, name):
    usb = tmp_path / "usb"
    sets.write(usb / "PP-DocLayoutV3", {**sets.layout_files, ".cache/note": b"x"})
    if name.endswith(".tar"):
        (usb / name).write_bytes(sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    else:
        sets.write(usb / name, sets.vlm_files)
    outcomes = carry(usb, sets.vlm, sets.layout)
    assert [(each.how, each.kind) for each in outcomes] == [(How.COPIED, Kind.CARRIED)] * 2
    assert contents(models_dir / VLM) == sets.vlm_files
    assert contents(models_dir / "PP-DocLayoutV3") == sets.layout_files
    assert (models_dir / VLM).stat().st_mtime == 315532800
    assert visible(models_dir) == ["PP-DocLayoutV3", VLM, "models.lock.json"]


@pytest.mark.parametrize("name", [VLM, "my-download", f"{VLM}_infer.tar"])
def test_one_set_alone_is_carried_in(carry, sets, models_dir, tmp_path, name, report):
    place = tmp_path / name
    if name.endswith(".tar"):
        place.write_bytes(sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    else:
        sets.write(place, sets.vlm_files)
    (outcome,) = carry(place, sets.vlm, sets.layout)
    assert (outcome.name, contents(models_dir / VLM)) == (VLM, sets.vlm_files)
    assert bool(report.warnings) == (name == "my-download")


def test_a_snapshot_of_links_becomes_files(carry, sets, models_dir, tmp_path):
    blobs = sets.write(tmp_path / "blobs", {"1": sets.vlm_files["model.safetensors"]})
    snapshot = sets.write(tmp_path / "usb" / VLM, sets.vlm_files)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(blobs / "1")
    carry(tmp_path / "usb")
    assert contents(models_dir / VLM) == sets.vlm_files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config.json": None}, "no config.json"),
        ({"model.safetensors": None}, "no [*].safetensors"),
        ({"tokenizer.json": None}, "no tokenizer.json or tokenizer.model"),
        (
            {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"},
            "git-lfs pointer in model.safetensors",
        ),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'},
            "no model-00002-of-00002.safetensors",
        ),
        ({"model.safetensors.index.json": b"{"}, "unreadable model.safetensors.index.json"),
    ],
)
def test_an_incomplete_set_is_not_carried_in(carry, sets, models_dir, tmp_path, change, words):
    files = {name: content for name, content in {**sets.vlm_files, **change}.items() if content is not None}
    sets.write(tmp_path / "usb" / VLM, files)
    with pytest.raises(WeightsError, match=words):
        carry(tmp_path / "usb")
    assert not models_dir.exists()


def test_a_layout_model_of_another_name_is_not_carried_in(carry, sets, tmp_path):
    other = {**sets.layout_files, "inference.yml": b"Global: {model_name: PP-DocLayoutV2}\n"}
    sets.write(tmp_path / "usb" / "PP-DocLayoutV3", other)
    with pytest.raises(WeightsError, match=r"an inference\.yml of PP-DocLayoutV2"):
        carry(tmp_path / "usb", sets.layout)


def test_gguf_needs_a_model_and_a_projector(carry, sets, models_dir, tmp_path):
    projector = "PaddleOCR-VL-1.6-mmproj.gguf"
    sets.write(tmp_path / "usb" / sets.gguf.name, {projector: sets.gguf_files[projector]})
    with pytest.raises(WeightsError, match=r"found no \*\.gguf"):
        carry(tmp_path / "usb", sets.gguf)
    sets.write(tmp_path / "usb" / sets.gguf.name, sets.gguf_files)
    carry(tmp_path / "usb", sets.gguf)
    assert contents(models_dir / sets.gguf.name) == sets.gguf_files


def test_nothing_is_copied_when_one_set_is_absent(carry, sets, models_dir, tmp_path):
    sets.write(tmp_path / "usb" / VLM, sets.vlm_files)
    with pytest.raises(WeightsError, match="found no PP-DocLayoutV3"):
        carry(tmp_path / "usb", sets.vlm, sets.layout)
    assert not models_dir.exists()
    with pytest.raises(WeightsError, match="is not there"):
        carry(tmp_path / "nowhere")


def test_carried_test_weights_stay_test_weights(carry, sets, models_dir, tmp_path):
    sets.write(tmp_path / "usb" / VLM, {**sets.vlm_files, TEST_MARKER: b"test"})
    (outcome,) = carry(tmp_path / "usb")
    assert outcome.kind is Kind.TEST


def test_carried_weights_are_compared_with_the_lock(carry, fetch, server, sets, models_dir, tmp_path):
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    shutil.rmtree(models_dir / VLM)
    sets.write(tmp_path / "usb" / VLM, {**sets.vlm_files, "config.json": b"[]\n"})
    with pytest.raises(WeightsError, match=r"config\.json: found SHA-256"):
        carry(tmp_path / "usb")
    assert visible(models_dir) == ["models.lock.json"]


def test_special_files_are_not_carried_in(carry, sets, tmp_path):
    os.mkfifo(sets.write(tmp_path / "usb" / VLM, sets.vlm_files) / "pipe")
    with pytest.raises(WeightsError, match="special file"):
        carry(tmp_path / "usb")


# --- checking -----------------------------------------------------------------------------------------------


@pytest.fixture
def fetched(fetch, server, sets, models_dir):
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.serve_bos("PP-DocLayoutV3", sets.tar(sets.layout_files, "PP-DocLayoutV3_infer/"))
    fetch(sets.vlm, sets.layout)
    return models_dir


def test_check_names_every_bad_file(fetched, report):
    assert [each.problems for each in checking.check(fetched, report=report)] == [(), ()]
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


def test_check_sees_sets_that_are_gone_and_links(fetched, report):
    shutil.rmtree(fetched / VLM)
    (fetched / "PP-DocLayoutV3/link").symlink_to("/etc/hostname")
    linked, gone = checking.inspect(fetched, report=report)
    assert gone.problems == (f"{VLM}: found no directory, expected the set",)
    assert "a link or special file" in linked.problems[0]
    with pytest.raises(WeightsError, match="unheard-of: found no directory"):
        checking.check(fetched, ["unheard-of"], report=report)


def test_check_of_nothing_fails(tmp_path, report):
    with pytest.raises(WeightsError, match="found no weights"):
        checking.check(tmp_path, report=report)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": 2, "sets": {}}',
        '{"format": 1, "sets": {"a": {"kind": "real", "files": {}}}}',
        '{"format": 1, "sets": {"a": {"kind": "test", "files": {"x": {"size": "1", "sha256": ""}}}}}',
    ],
)
def test_a_lock_that_cannot_be_read_is_refused(tmp_path, report, text):
    (tmp_path / "models.lock.json").write_text(text)
    with pytest.raises(WeightsError, match=r"models\.lock\.json"):
        checking.inspect(tmp_path, report=report)


# --- several processes, and Ctrl-C --------------------------------------------------------------------------


def spawn(*code):
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(code)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_processes_that_record_at_once_lose_nothing(models_dir, sets):
    names = [f"set{n}" for n in range(6)]
    for name in names:
        sets.write(models_dir / name, {"a": name.encode()})
    running = [
        spawn(
            "from pathlib import Path",
            "from paddock import console",
            "from paddock.weights import installing",
            f"installing.record(Path({str(models_dir)!r}), {name!r}, kind=installing.Kind.TEST,"
            " report=console.TerminalReporter())",
        )
        for name in names
    ]
    assert [
        process.communicate(timeout=PATIENT_ENOUGH)[0] for process in running if process.wait(PATIENT_ENOUGH)
    ] == []
    for process in running:
        process.stdout.close()
    assert sorted(lockfile.read(models_dir)) == names


def command(server, models_dir, *arguments):
    environment = {
        **os.environ,
        "PADDOCK_BOS_ENDPOINT": server.url,
        "HF_ENDPOINT": server.url,
        "MODELSCOPE_ENDPOINT": server.url,
        "MODELS_DIR": str(models_dir),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "paddock", "models", "fetch", "paddleocr-vl-1.6", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_fetches_of_one_set_download_it_once(server, sets, models_dir):
    path = server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.fail(path, stall_after=0)
    first = command(server, models_dir, "--role", "vlm")
    assert server.stalled.wait(PATIENT_ENOUGH)
    second = command(server, models_dir, "--role", "vlm")
    said = ""
    while "another paddock" not in said:
        line = second.stderr.readline()
        assert line
        said += line
    server.free.set()
    for process in (first, second):
        _, errors = process.communicate(timeout=PATIENT_ENOUGH)
        assert process.returncode == 0, errors
    assert server.ranges(path) == [None, None]  # the second request is the first process's retry
    assert contents(models_dir / VLM) == sets.vlm_files


def test_ctrl_c_keeps_what_came_and_nothing_half_written(server, sets, models_dir):
    archive = sets.tar(sets.vlm_files, f"{VLM}_infer/")
    path = server.serve_bos(VLM, archive)
    server.fail(path, stall_after=150_000)
    running = command(server, models_dir, "--role", "vlm")
    part = models_dir / f".partial-{VLM}" / "bos" / f"{VLM}_infer.tar.part"
    until = time.monotonic() + PATIENT_ENOUGH
    while not (part.is_file() and part.stat().st_size > 100_000):
        assert time.monotonic() < until
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=PATIENT_ENOUGH)
    assert running.returncode == 130, errors
    assert "continues where this stopped" in errors
    assert visible(models_dir) == [f".partial-{VLM}"]
    left = part.stat().st_size
    again = command(server, models_dir, "--role", "vlm")
    _, errors = again.communicate(timeout=PATIENT_ENOUGH)
    assert again.returncode == 0, errors
    assert server.ranges(path) == [None, f"bytes={left}-"]
    assert contents(models_dir / VLM) == sets.vlm_files
    assert visible(models_dir) == [VLM, "models.lock.json"]


def test_ctrl_c_while_copying_leaves_nothing(carry, sets, models_dir, tmp_path, report):
    sets.write(tmp_path / "usb" / VLM, sets.vlm_files)

    def interrupt(_amount):
        assert any(path.is_file() for path in (models_dir / f".partial-{VLM}" / "tree").rglob("*"))
        raise KeyboardInterrupt

    report.progress = lambda *_, **__: nullcontext(interrupt)
    with pytest.raises(Interrupted):
        carry(tmp_path / "usb")
    assert visible(models_dir) == []


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def paddock(server, models_dir, monkeypatch, capsys):
    monkeypatch.setenv("PADDOCK_BOS_ENDPOINT", server.url)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
    monkeypatch.setenv("MODELS_DIR", str(models_dir))

    def call(*arguments):
        status = run(["models", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_the_command_takes_the_folder_that_builds_take(paddock, sets, tmp_path, monkeypatch):
    """MODELS_DIR of the workspace's .env, relative to the workspace; the shell's goes before it."""
    monkeypatch.setenv("PADDOCK_ROOT", str(tmp_path))
    sets.write(tmp_path / "of-env" / VLM, sets.vlm_files)
    (tmp_path / ".env").write_text("MODELS_DIR=of-env\n")
    assert VLM not in paddock("list")[1]
    monkeypatch.delenv("MODELS_DIR")
    assert VLM in paddock("list")[1]


def test_the_command_fetches_lists_and_checks(paddock, server, sets, models_dir):
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.serve_huggingface("PP-DocLayoutV3", sets.layout_files)
    status, out, err = paddock("fetch", "paddleocr-vl-1.6", "--role", "vlm", "--role", "layout", "--json")
    assert status == 0, err
    assert [(each["name"], each["source"]) for each in json.loads(out)] == [
        (VLM, "bos"),
        ("PP-DocLayoutV3", "huggingface"),
    ]
    assert "PP-DocLayoutV3: bos does not give it" in err
    status, out, _ = paddock("list", "--json")
    assert json.loads(out)[0]["needed_by"] == ["paddleocr-vl-1.5", "paddleocr-vl-1.6"]
    status, out, _ = paddock("list")
    assert f"{VLM}  " in out
    status, out, _ = paddock("check")
    assert (status, out.count(" ok")) == (0, 2)
    (models_dir / VLM / "config.json").write_bytes(b"[]\n")
    status, out, err = paddock("check", "--json")
    assert status == 7
    assert [len(each["problems"]) for each in json.loads(out)] == [0, 1]
    assert f"{VLM}/config.json: found SHA-256" in err


def test_the_command_fetches_what_llama_cpp_reads(paddock, server, sets):
    server.serve_huggingface(sets.gguf.name, sets.gguf_files)
    server.serve_huggingface("PP-DocLayoutV3", sets.layout_files)
    for name in ("PP-LCNet_x1_0_doc_ori", "UVDoc"):
        named = {**sets.layout_files, "inference.yml": f"Global: {{model_name: {name}}}\n".encode()}
        server.serve_bos(name, sets.tar(named, f"{name}_infer/"))
    status, out, err = paddock("fetch", "paddleocr-vl-1.6", "--backend", "llama.cpp", "--json")
    assert status == 0, err
    assert {each["name"] for each in json.loads(out)} == {
        sets.gguf.name,
        "PP-DocLayoutV3",
        "PP-LCNet_x1_0_doc_ori",
        "UVDoc",
    }


def test_the_command_carries_in(paddock, sets, tmp_path):
    status, out, err = paddock(
        "fetch", "paddleocr-vl-1.6", "--from", str(sets.write(tmp_path / VLM, sets.vlm_files))
    )
    assert (status, "carried" in out) == (0, True), err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["fetch", "paddleocr-vl-1.7"], 2, 'did you mean "paddleocr-vl-1.6"'),
        (["fetch", "paddleocr-vl-1.6", "--backend", "vlm"], 2, "vllm"),
        (["fetch", "paddleocr-vl-1.6", "--source", "bos", "--from", "/tmp"], 2, "--source and --from"),
        (["fetch", "paddleocr-vl-1.6", "--role", "vlm"], 7, "no source gave it"),
        (["fetch", "paddleocr-vl-1.6", "--from", "/nowhere"], 7, "/nowhere: is not there"),
        (["check"], 7, "found no weights"),
    ],
)
def test_the_command_refuses(paddock, arguments, status, words):
    found, _, err = paddock(*arguments)
    assert (found, words in err) == (status, True), err


def test_a_place_that_cannot_be_written_is_named(fetch, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PreflightError, match="expected a directory"):
        fetch(to=tmp_path / "file" / "models")
