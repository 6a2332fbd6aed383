"""Layers of the classic store: the tar comes out of its record and the unpacked files, bit for bit."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest

from layer_files import noise
from paddock.bundle.imagestore.tarsplit import open_layer
from paddock.errors import EngineError
from small_images import digest, every_kind_of_member, tar

FILES = {"bin/sh": noise(3000, 1), "lib/lib.so": noise(2_500_000, 2), "raw-\udcff": b"not UTF-8"}
LAYER = tar(FILES, more=every_kind_of_member)


def segment(data: bytes) -> dict[str, object]:
    return {"type": 2, "payload": base64.b64encode(data).decode()}


def file_entry(name: str, size: int) -> dict[str, object]:
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = base64.b64encode(name.encode("utf-8", "surrogateescape")).decode()
        return {"type": 1, "name_raw": raw, "size": size}
    return {"type": 1, "name": name, "size": size}


def stored(folder: Path) -> tuple[Path, Path]:
    """The record and the files of `LAYER`, as an engine keeps them."""
    entries: list[dict[str, object]] = []
    end = 0
    for name, content in FILES.items():
        path = folder / "diff" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        start = LAYER.index(content)
        entries += [segment(LAYER[end:start]), file_entry(name, len(content))]
        end = start + len(content)
    entries += [segment(LAYER[end : end + 700]), segment(LAYER[end + 700 :]), {"type": 1, "name": "empty"}]
    record = folder / "tar-split.json.gz"
    record.write_bytes(gzip.compress("\n".join(map(json.dumps, entries)).encode()))
    return record, folder / "diff"


def test_the_tar_comes_out_bit_for_bit(tmp_path: Path) -> None:
    with open_layer(digest(LAYER), *stored(tmp_path)) as layer:
        assert (layer.diff_id, layer.size) == (digest(LAYER), len(LAYER))
        pieces = list(layer.stream())
        assert b"".join(pieces) == LAYER
        assert max(map(len, pieces)) <= 1 << 20
        for start, length in [(0, 0), (511, 4000), (len(LAYER) - 1, 1), (3000, 2_400_000)]:
            assert layer.read_at(start, length) == LAYER[start : start + length]
        with pytest.raises(EngineError, match=f"found {len(LAYER)} bytes, expected some up to"):
            layer.read_at(1, len(LAYER))


@pytest.mark.parametrize(
    ("content", "words"), [(b"short", "lib/lib.so is shorter than it was"), (None, "No such file")]
)
def test_a_file_that_was_changed_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    record, folder = stored(tmp_path)
    (folder / "lib/lib.so").unlink()
    if content is not None:
        (folder / "lib/lib.so").write_bytes(content)
    with open_layer(digest(LAYER), record, folder) as layer, pytest.raises(EngineError, match=words):
        list(layer.stream())


def test_links_are_not_followed(tmp_path: Path) -> None:
    record, folder = stored(tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/lib.so").write_bytes(FILES["lib/lib.so"])
    (folder / "lib/lib.so").unlink()
    (folder / "lib/lib.so").symlink_to(tmp_path / "outside/lib.so")
    with (
        open_layer(digest(LAYER), record, folder) as layer,
        pytest.raises(EngineError, match="found a link, expected a file"),
    ):
        list(layer.stream())
    (folder / "lib/lib.so").unlink()
    (folder / "lib").rmdir()
    (folder / "lib").symlink_to(tmp_path / "outside")
    with (
        open_layer(digest(LAYER), record, folder) as layer,
        pytest.raises(EngineError, match="leads out of the layer"),
    ):
        list(layer.stream())


@pytest.mark.parametrize(
    "record",
    [b"", b"x", gzip.compress(b"{"), gzip.compress(b'{"type": 2}')],
    ids=["empty", "not gzip", "not JSON", "not a member"],
)
def test_a_damaged_record_is_refused(tmp_path: Path, record: bytes) -> None:
    path = tmp_path / "tar-split.json.gz"
    path.write_bytes(record)
    if not record:
        path.unlink()
    with pytest.raises(EngineError, match="cannot be read"), open_layer("sha256:1", path, tmp_path):
        pass
