"""`paddock models`: fetching, listing, checking and carrying in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.door import run
from weight_sources import BadServer, Sets
from weights_directory import VLM

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paddock(
    server: BadServer, models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("PADDOCK_BOS_ENDPOINT", server.url)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
    monkeypatch.setenv("MODELS_DIR", str(models_dir))
    monkeypatch.setenv("UNLOCKED_WEIGHTS", "1")  # the server's sets are small ones of ours

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(["models", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_the_command_takes_the_folder_that_builds_take(
    paddock: Command, sets: type[Sets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODELS_DIR of the workspace's .env, relative to the workspace; the shell's goes before it."""
    monkeypatch.setenv("PADDOCK_ROOT", str(tmp_path))
    sets.write(tmp_path / "of-env" / VLM, sets.vlm_files)
    (tmp_path / ".env").write_text("MODELS_DIR=of-env\n")
    assert VLM not in paddock("list")[1]
    monkeypatch.delenv("MODELS_DIR")
    assert VLM in paddock("list")[1]


def test_the_command_fetches_lists_and_checks(
    paddock: Command, server: BadServer, sets: type[Sets], models_dir: Path
) -> None:
    server.serve_bos(VLM, sets.tar(sets.vlm_files, f"{VLM}_infer/"))
    server.serve_huggingface("PP-DocLayoutV3", sets.layout_files)
    status, out, err = paddock("fetch", "paddleocr-vl-1.6", "--role", "vlm", "--role", "layout", "--json")
    assert status == 0, err
    assert [(entry["name"], entry["source"]) for entry in json.loads(out)] == [
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
    assert [len(entry["problems"]) for entry in json.loads(out)] == [0, 1]
    assert f"{VLM}/config.json: found SHA-256" in err


def test_the_command_fetches_what_llama_cpp_reads(
    paddock: Command, server: BadServer, sets: type[Sets]
) -> None:
    server.serve_huggingface(sets.gguf.name, sets.gguf_files)
    server.serve_huggingface("PP-DocLayoutV3", sets.layout_files)
    for name in ("PP-LCNet_x1_0_doc_ori", "UVDoc"):
        named = {**sets.layout_files, "inference.yml": f"Global: {{model_name: {name}}}\n".encode()}
        server.serve_bos(name, sets.tar(named, f"{name}_infer/"))
    status, out, err = paddock("fetch", "paddleocr-vl-1.6", "--backend", "llama.cpp", "--json")
    assert status == 0, err
    assert {entry["name"] for entry in json.loads(out)} == {
        sets.gguf.name,
        "PP-DocLayoutV3",
        "PP-LCNet_x1_0_doc_ori",
        "UVDoc",
    }


def test_the_command_carries_in(paddock: Command, sets: type[Sets], tmp_path: Path) -> None:
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
def test_the_command_refuses(paddock: Command, arguments: list[str], status: int, words: str) -> None:
    found, _, err = paddock(*arguments)
    assert (found, words in err) == (status, True), err
