"""Every configuration that we render is accepted by the program that reads it: asked of it in our images.

Nothing is served and no weights are needed: an argument parser, PaddleX's loading of a pipeline, and
llama-server up to the point at which it wants its model. tests/proofs covers the servers that have no image
here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import evidence
from evidence import configuration_of, read_options, servers_of
from paddock import paths
from paddock.matrix.images import stack_images
from paddock.matrix.load import load_registry
from paddock.matrix.records import Stack
from paddock.render.renderer import Renderer
from programs import run, succeeded

REGISTRY = load_registry(paths.templates())
RENDERER = Renderer(paths.templates())
STACKS = {stack.name: stack for stack in REGISTRY.all_stacks()}
ISOLATED = ("docker", "run", "--rm", "--interactive", "--network=none", "--read-only", "--tmpfs=/tmp")


def ask(image: str, program: str, request: object, *arguments: str) -> dict[str, Any]:
    """The answer of one of tests/proofs/programs, run by the interpreter of an image without network."""
    text = (evidence.PROGRAMS / program).read_text("utf-8")
    asking = (*ISOLATED, "--entrypoint=python", image, "-c", text, *arguments)
    printed = succeeded(run(*asking, stdin=json.dumps(request)))
    answer: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return answer


def image_of(stack: Stack, role: str, prefix: str) -> str:
    (image,) = (image for image in stack_images(stack) if image.role == role)
    return image.reference(prefix=prefix).removesuffix(image.suffix)


def run_by(package: str) -> dict[str, Stack]:
    """The stacks whose options that server reads."""
    return {
        name: stack
        for name, stack in STACKS.items()
        if any(server.package == package for server in servers_of(stack))
    }


# --- vLLM ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vllm(stack_prefix: str) -> dict[str, Any]:
    """What the parser in our image says to every configuration for it, and to some that are wrong."""
    stacks = run_by("vllm-cpu")
    configurations = {
        name: dict(zip(("file", "text"), configuration_of(stack, RENDERER), strict=True))
        for name, stack in stacks.items()
    }
    assert len(configurations) > 5
    text = configurations["cpu"]["text"]
    for name, wrong in {
        "unknown": text + "max-modle-len: 16384\n",
        "number": text.replace("max-num-seqs: 32", "max-num-seqs: many"),
        "choice": text.replace('dtype: "auto"', "dtype: bf16"),
    }.items():
        assert wrong != text
        configurations[name] = {"file": "vlm.yaml", "text": wrong}
    return ask(
        image_of(STACKS["cpu"], "vlm", stack_prefix),
        "ask_parser.py",
        {"configurations": configurations},
        "vllm",
    )


def test_vllm_takes_every_configuration_and_refuses_wrong_ones(vllm: Mapping[str, Any]) -> None:
    assert set(vllm["refused"]) == {"unknown", "number", "choice"}
    assert "--max-modle-len" in vllm["refused"]["unknown"]
    assert "--max-num-seqs" in vllm["refused"]["number"]
    assert "--dtype" in vllm["refused"]["choice"]


def test_the_recorded_command_line_is_that_of_the_image(vllm: Mapping[str, Any]) -> None:
    (server,) = set(servers_of(STACKS["cpu"]))
    recorded = read_options(server.table)
    assert vllm["version"].partition("+")[0] == server.version
    options = {
        name: [option.values, option.type, list(option.choices)] for name, option in recorded.options.items()
    }
    assert options == vllm["options"]
    assert recorded.environment == set(vllm["environment"])


# --- llama-server -------------------------------------------------------------------------------------------


@pytest.fixture
def llama_image(stack_prefix: str) -> str:
    return image_of(STACKS["cpu-llama.cpp"], "vlm", stack_prefix)


def llama_says(image: str, text: str, folder: Path) -> str:
    """What the image's start script ends with, given options from `text` and two files that are no models."""
    models = folder / "models"
    models.mkdir()
    for name in ("model.gguf", "mmproj.gguf"):
        (models / name).write_bytes(b"no model")
    (folder / "vlm.conf").write_text(text, "utf-8")
    folder.chmod(0o755)
    done = run(
        *ISOLATED,
        "--tmpfs=/var/lib/paddock:mode=1777",
        f"--volume={folder / 'vlm.conf'}:/etc/paddock/vlm.conf:ro",
        f"--volume={models}:/models:ro",
        "--env=PADDOCK_MODEL_DIR=/models",
        image,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(run_by("llama-cpp-python")))
def test_llama_server_takes_every_option_and_stops_at_the_model(
    name: str, llama_image: str, tmp_path: Path
) -> None:
    said = llama_says(llama_image, configuration_of(STACKS[name], RENDERER)[1], tmp_path)
    assert "failed to load model" in said or "invalid magic" in said, said[-2000:]
    assert "invalid argument" not in said


@pytest.mark.parametrize("line", ["ctx-sice 65536", "parallel many"])
def test_llama_server_refuses_wrong_options(line: str, llama_image: str, tmp_path: Path) -> None:
    _, text = configuration_of(STACKS["cpu-llama.cpp"], RENDERER)
    said = llama_says(llama_image, f"{text}{line}\n", tmp_path)
    assert "failed to load model" not in said, said[-2000:]
    assert "error" in said


# --- PaddleX ------------------------------------------------------------------------------------------------


def pipelines() -> Iterator[tuple[str, str]]:
    """Each pipeline configuration by its stack, the same text once."""
    seen = set()
    for name, stack in STACKS.items():
        if stack.model.pipeline is None:
            continue
        text = RENDERER.stack(stack)[PurePosixPath("compose") / name / "pipeline.yaml"]
        if text not in seen:
            seen.add(text)
            yield name, text


def test_paddlex_loads_every_pipeline_and_refuses_wrong_ones(stack_prefix: str) -> None:
    texts = dict(pipelines())
    assert len(texts) >= 6
    text = RENDERER.stack(STACKS["cpu"])[PurePosixPath("compose/cpu/pipeline.yaml")]
    wrong = {
        "key": text.replace("use_layout_detection", "use_layout_detecton"),
        "backend": text.replace("backend: vllm-server", "backend: vllm"),
        "url": text.replace("/v1", ""),
        "field": text.replace("max_concurrency", "max_concurency"),
        "client": text.replace("max_retries", "retries"),
        "pipeline": text.replace("pipeline_name: PaddleOCR-VL-1.6", "pipeline_name: PaddleOCR-VL-9"),
        "model": text.replace("model_name: PaddleOCR-VL-1.6-0.9B", "model_name: PaddleOCR-VL-0.9B"),
        "serving": text.replace("visualize: true", "visualize: [sometimes]"),
    }
    assert text not in wrong.values()
    answer = ask(image_of(STACKS["cpu"], "api", stack_prefix), "load_pipelines.py", {**texts, **wrong})
    assert STACKS["cpu"].target.api is not None
    assert answer["version"] == STACKS["cpu"].target.api.image.pins["paddlex"]
    refused = answer["refused"]
    assert {name: reasons for name, reasons in refused.items() if name not in wrong} == {}
    assert set(refused) == set(wrong)
    assert "no such key" in refused["key"][0]
    assert "GenAIConfig" in refused["backend"][0]
    assert "AppConfig" in refused["serving"][0]
