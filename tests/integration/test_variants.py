"""The target's offline stacks for real: every model inside its images; and weights made twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compose_projects import containers_of, inspected
from programs import docker, succeeded
from repository import REPOSITORY
from workshop import Workshop

SAMPLE = REPOSITORY / "docs/sample/receipt.png"
TEXT = "paddock test weights: this text was not read from the page"


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
def test_every_model_is_served_from_images_that_hold_its_own_sets_and_need_nothing_else(
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
    assert "test weights" in up.stdout
    for container in containers_of(project):
        assert "/models" not in [mount["Destination"] for mount in inspected(container)["Mounts"]]
    smoke = shop.paddock("smoke", *named, "--json")
    assert smoke.returncode == 0, smoke.stderr
    asked = [check["check"] for check in json.loads(smoke.stdout)["checks"]]
    assert asked[-2:] == ["image", "pdf"]
    assert ("seal" in asked) is (model != "paddleocr-vl")
    url = f"http://127.0.0.1:{free_port}"
    parsed = shop.paddock("parse", SAMPLE, "--output", tmp_path / "out", "--url", url)
    assert parsed.returncode == 0, parsed.stderr
    assert TEXT in (tmp_path / "out/receipt.png/document.md").read_text()
    down = shop.paddock("down", *named, "--volumes")
    assert down.returncode == 0, down.stderr
    docker("image", "rm", "--force", *images)


def test_test_weights_made_twice_are_the_same_bytes(shop: Workshop, models: Path) -> None:
    first, again = (json.loads((folder / "models.lock.json").read_text()) for folder in (shop.models, models))
    assert first["sets"].items() <= again["sets"].items()
    assert shop.paddock("models", "check", "--to", models).returncode == 0
