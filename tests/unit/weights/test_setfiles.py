"""The files of a set: what there must be, and their modes and times."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from paddock.errors import WeightsError
from weight_sources import BadServer, Sets
from weights_directory import VLM, Carry, Fetch, contents


def test_modes_and_times_follow_from_the_content(
    fetch: Fetch, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    fetch()
    directory = models_dir / VLM
    for path in (directory, *directory.rglob("*")):
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644)
    for name, content in sets.vlm_files.items():
        follows = int(hashlib.sha256(content).hexdigest()[:8], 16) % 2**30
        assert (directory / name).stat().st_mtime == 315532800 + follows, name
    assert directory.stat().st_mtime == 315532800


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
def test_an_incomplete_set_is_not_carried_in(
    carry: Carry,
    sets: type[Sets],
    models_dir: Path,
    tmp_path: Path,
    change: Mapping[str, bytes | None],
    words: str,
) -> None:
    files = {name: content for name, content in {**sets.vlm_files, **change}.items() if content is not None}
    sets.write(tmp_path / "usb" / VLM, files)
    with pytest.raises(WeightsError, match=words):
        carry(tmp_path / "usb")
    assert not models_dir.exists()


def test_a_layout_model_of_another_name_is_not_carried_in(
    carry: Carry, sets: type[Sets], tmp_path: Path
) -> None:
    other = {**sets.layout_files, "inference.yml": b"Global: {model_name: PP-DocLayoutV2}\n"}
    sets.write(tmp_path / "usb" / "PP-DocLayoutV3", other)
    with pytest.raises(WeightsError, match=r"an inference\.yml of PP-DocLayoutV2"):
        carry(tmp_path / "usb", sets.layout)


BOMB = b"a: &a [x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (at, at, b", ".join([b"*%c" % (at - 1)] * 8)) for at in range(ord("b"), ord("l"))
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + b"Global: {model_name: *k}\n",
        b"Global: {model_name: " + b"[" * 50_000,
        b"Global: {model_name: PP-DocLayoutV3}\n" + b"#" * 300_000,
        b"Global: {model_name: !!python/object/apply:os.system [true]}\n",
    ],
    ids=["aliases", "nested", "large", "an object"],
)
def test_an_inference_yml_that_is_no_plain_data_takes_neither_memory_nor_time(
    carry: Carry, sets: type[Sets], tmp_path: Path, text: bytes
) -> None:
    sets.write(tmp_path / "usb" / "PP-DocLayoutV3", {**sets.layout_files, "inference.yml": text})
    with pytest.raises(WeightsError, match=r"an unreadable inference\.yml"):
        carry(tmp_path / "usb", sets.layout)


def test_the_name_of_a_model_is_a_text(carry: Carry, sets: type[Sets], tmp_path: Path) -> None:
    files = {**sets.layout_files, "inference.yml": b"Global: {model_name: [a, b]}\n"}
    sets.write(tmp_path / "usb" / "PP-DocLayoutV3", files)
    with pytest.raises(WeightsError, match="without the name of a model"):
        carry(tmp_path / "usb", sets.layout)


def test_an_index_that_is_nested_without_end_is_unreadable(
    carry: Carry, sets: type[Sets], tmp_path: Path
) -> None:
    files = {**sets.vlm_files, "model.safetensors.index.json": b"[" * 200_000}
    sets.write(tmp_path / "usb" / VLM, files)
    with pytest.raises(WeightsError, match=r"unreadable model\.safetensors\.index\.json"):
        carry(tmp_path / "usb")


def test_gguf_needs_a_model_and_a_projector(
    carry: Carry, sets: type[Sets], models_dir: Path, tmp_path: Path
) -> None:
    projector = "PaddleOCR-VL-1.6-mmproj.gguf"
    sets.write(tmp_path / "usb" / sets.gguf.name, {projector: sets.gguf_files[projector]})
    with pytest.raises(WeightsError, match=r"found no \*\.gguf"):
        carry(tmp_path / "usb", sets.gguf)
    sets.write(tmp_path / "usb" / sets.gguf.name, sets.gguf_files)
    carry(tmp_path / "usb", sets.gguf)
    assert contents(models_dir / sets.gguf.name) == sets.gguf_files
