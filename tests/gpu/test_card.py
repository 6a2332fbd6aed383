"""On a machine with an NVIDIA card: `pytest --run-gpu tests/gpu` builds, starts and asks its target.

Collected with --run-gpu only, and then nothing is skipped: without a card or a target for it these tests
fail. Takes the models directory of the checkout; where the weights are missing it makes test weights, which
vLLM can serve and which prove the way through both containers, not reading. Enter what passed in
tests/proofs/data/results.yaml.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import programs
from compose_projects import containers_of
from paddock import __version__, paths
from paddock.matrix.load import load_registry
from paddock.matrix.records import NvidiaCards, Stack, WeightsRole
from programs import docker, free_port, run, succeeded
from repository import REPOSITORY

REGISTRY = load_registry(paths.templates())
LIMIT = 7200.0  # seconds; images of many GB are fetched
PROJECT = f"paddock-gpu-{os.getpid()}"


def paddock(*arguments: str | Path) -> str:
    """Run the real program; its stdout."""
    return succeeded(programs.paddock(*arguments, limit=LIMIT, PADDOCK_ROOT=str(REPOSITORY)))


@pytest.fixture(scope="module")
def card() -> str:
    """The compute capability of the first card."""
    return succeeded(run("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")).split()[0]


@pytest.fixture(scope="module")
def stack(card: str) -> Stack:
    """The default stack of the target for that card that has a pipeline API."""
    fitting = [
        target
        for target in REGISTRY.targets.values()
        if isinstance(target.cards, NvidiaCards)
        and target.api
        and card in SpecifierSet(target.cards.compute_capability)
    ]
    assert fitting, f"no target is for compute capability {card}"
    return REGISTRY.stack(target=fitting[0].name)


@pytest.fixture(scope="module")
def running(stack: Stack) -> Iterator[str]:
    """The stack, built and started; the address of its pipeline API."""
    weights = stack.model.weight_set(WeightsRole.VLM)
    paddock("build", stack.target.name)
    if weights is not None and not (REPOSITORY / "models" / weights.name).is_dir():
        image = f"paddock/{stack.target.name}-api:{__version__}"
        paddock("models", "make-test", stack.model.name, "--to", REPOSITORY / "models", "--image", image)
    port = str(free_port())
    try:
        paddock("up", stack.target.name, "--project", PROJECT, "--port", port)
        yield f"http://127.0.0.1:{port}"
    finally:
        paddock("down", stack.target.name, "--project", PROJECT, "--volumes")


def test_the_containers_see_the_card(running: str, stack: Stack) -> None:
    listed = json.loads(paddock("status", stack.target.name, "--project", PROJECT, "--json"))
    assert listed
    for service in ("api", "vlm"):
        (container,) = containers_of(PROJECT, service)
        cards = docker("exec", container, "nvidia-smi", "--list-gpus").splitlines()
        assert len(cards) == 1, "device_ids gives one card"


def test_every_task_is_answered(running: str, stack: Stack) -> None:
    assert json.loads(paddock("smoke", stack.target.name, "--project", PROJECT, "--json"))


def test_a_document_is_parsed(running: str, tmp_path: Path) -> None:
    paddock("parse", REPOSITORY / "docs/sample/receipt.png", "--output", tmp_path, "--url", running)
    assert list(tmp_path.rglob("*.md"))
