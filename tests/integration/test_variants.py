"""The target's other stacks for real: weights inside the images, another backend, and weights made twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compose_projects import containers_of, inspected
from programs import docker, succeeded
from repository import REPOSITORY
from workshop import RunningStack, Workshop

SAMPLE = REPOSITORY / "docs/sample/receipt.png"
TEXT = "paddock test weights: this text was not read from the page"


def test_an_offline_stack_needs_nothing_but_its_images(
    shop: Workshop, project: str, free_port: int, tmp_path: Path
) -> None:
    built = shop.paddock("build", "cpu-offline", "--backend", "llama.cpp", "--json")
    assert built.returncode == 0, built.stderr
    nowhere = str(tmp_path / "no-models")
    up = shop.paddock(
        *("up", "cpu-offline", "--backend", "llama.cpp", "--project", project, "--port", str(free_port)),
        MODELS_DIR=nowhere,
    )
    assert up.returncode == 0, up.stderr
    assert "test weights" in up.stdout
    for container in containers_of(project):
        mounts = inspected(container)["Mounts"]
        assert "/models" not in [mount["Destination"] for mount in mounts]
    url = f"http://127.0.0.1:{free_port}"
    parsed = shop.paddock("parse", SAMPLE, "--output", tmp_path / "out", "--url", url)
    assert parsed.returncode == 0, parsed.stderr
    assert TEXT in (tmp_path / "out/receipt.png/document.md").read_text()
    docker("image", "rm", "--force", *json.loads(built.stdout)["images"])


@pytest.fixture(scope="module")
def models(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test weights of every model. Files of different sets have the same name and size."""
    folder = tmp_path_factory.mktemp("models")
    for model in ("paddleocr-vl", "paddleocr-vl-1.5", "paddleocr-vl-1.6"):
        make = ("models", "make-test", model, "--to", folder, "--image", shop.image("cpu-api"))
        succeeded(shop.paddock(*make))
    return folder


@pytest.mark.parametrize(
    ("backend", "model", "layout"),
    [
        ("llama.cpp", "paddleocr-vl", "PP-DocLayoutV2"),
        ("llama.cpp", "paddleocr-vl-1.5", "PP-DocLayoutV3"),
        ("vllm", "paddleocr-vl-1.6", "PP-DocLayoutV3"),
    ],
)
def test_every_model_is_served_from_images_that_hold_its_own_sets(
    shop: Workshop,
    models: Path,
    project: str,
    free_port: int,
    tmp_path: Path,
    backend: str,
    model: str,
    layout: str,
) -> None:
    stack = ("cpu", "--backend", backend, "--model", model, "--offline")
    built = shop.paddock("build", *stack, "--json", MODELS_DIR=str(models))
    assert built.returncode == 0, built.stderr
    images = json.loads(built.stdout)["images"]
    (api,) = (name for name in images if "cpu-api" in name)
    held = docker("run", "--rm", "--entrypoint", "cat", api, f"/models/{layout}/inference.yml")
    assert held == (models / layout / "inference.yml").read_text()
    named = (*stack, "--project", project)
    up = shop.paddock("up", *named, "--port", str(free_port), MODELS_DIR=str(tmp_path / "no-models"))
    assert up.returncode == 0, up.stderr
    smoke = shop.paddock("smoke", *named, "--json")
    assert smoke.returncode == 0, smoke.stderr
    asked = [check["check"] for check in json.loads(smoke.stdout)["checks"]]
    assert asked[-2:] == ["image", "pdf"]
    assert ("seal" in asked) is (model != "paddleocr-vl")
    down = shop.paddock("down", *named, "--volumes")
    assert down.returncode == 0, down.stderr
    docker("image", "rm", "--force", *images)


def test_both_backends_answer_the_same(
    stack: RunningStack, project: str, free_port: int, tmp_path: Path
) -> None:
    options = ("--backend", "llama.cpp", "--project", project)
    up = stack.shop.paddock("up", "cpu", *options, "--port", str(free_port))
    assert up.returncode == 0, up.stderr
    assert stack.parse(SAMPLE, to=tmp_path / "vllm").returncode == 0
    parsed = stack.shop.paddock(
        *("parse", SAMPLE, "--output", tmp_path / "llama.cpp", "--url", f"http://127.0.0.1:{free_port}")
    )
    assert parsed.returncode == 0, parsed.stderr
    texts = [(tmp_path / name / "receipt.png/document.md").read_text() for name in ("vllm", "llama.cpp")]
    assert texts[0] == texts[1]
    assert texts[0].count(TEXT) == 5


def test_test_weights_made_twice_are_the_same_bytes(shop: Workshop, tmp_path: Path) -> None:
    again = tmp_path / "models"
    make = ("models", "make-test", "paddleocr-vl-1.6", "--to", again, "--image", shop.image("cpu-api"))
    succeeded(shop.paddock(*make))
    locks = [json.loads((folder / "models.lock.json").read_text()) for folder in (shop.models, again)]
    assert locks[0] == locks[1]
    assert shop.paddock("models", "check", "--to", again).returncode == 0
