"""On a machine with an NVIDIA card: `pytest --run-gpu tests/gpu`. Builds, starts and asks the target of that
card.

Collected with --run-gpu only, and then nothing is skipped: without a card or a target for it these tests
fail. Takes the models directory of the checkout; where the weights are missing it makes test weights, which
vLLM can serve and which prove the way through both containers, not reading. Enter what passed in
tests/proofs/data/results.yaml.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from paddock import __version__, paths
from paddock.matrix.load import load_registry
from paddock.matrix.records import Accelerator, Stack, WeightsRole
from repository import REPOSITORY

REGISTRY = load_registry(paths.templates())
LIMIT = 7200  # seconds; images of many GB are fetched
PROJECT = f"paddock-gpu-{os.getpid()}"


def paddock(*arguments: str, **environment: str) -> str:
    """Run the real program; its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "paddock", *arguments],
        env={**os.environ, "PADDOCK_ROOT": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, f"paddock {' '.join(arguments)}\n{done.stderr[-6000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def card() -> str:
    """The compute capability of the first card."""
    asked = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.split()[0]


@pytest.fixture(scope="module")
def stack(card: str) -> Stack:
    """The default stack of the target for that card that has a pipeline API."""
    fitting = [
        target
        for target in REGISTRY.targets.values()
        if target.accelerator is Accelerator.NVIDIA
        and target.api
        and card in SpecifierSet(target.compute_capability or "")
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
        paddock("models", "make-test", stack.model.name, "--to", str(REPOSITORY / "models"), "--image", image)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    try:
        paddock("up", stack.target.name, "--project", PROJECT, "--port", port)
        yield f"http://127.0.0.1:{port}"
    finally:
        paddock("down", stack.target.name, "--project", PROJECT, "--volumes")


def test_the_containers_see_the_card(running: str, stack: Stack) -> None:
    listed = json.loads(paddock("status", stack.target.name, "--project", PROJECT, "--json"))
    assert listed
    for service in ("api", "vlm"):
        found = subprocess.run(
            [
                "docker",
                "ps",
                "--quiet",
                f"--filter=label=com.docker.compose.project={PROJECT}",
                f"--filter=label=com.docker.compose.service={service}",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        seen = subprocess.run(
            ["docker", "exec", found, "nvidia-smi", "--list-gpus"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert len(seen.stdout.splitlines()) == 1, "device_ids gives one card"


def test_every_task_is_answered(running: str, stack: Stack) -> None:
    assert json.loads(paddock("smoke", stack.target.name, "--project", PROJECT, "--json"))


def test_a_document_is_parsed(running: str, tmp_path: Path) -> None:
    paddock("parse", str(REPOSITORY / "docs/sample/receipt.png"), "--output", str(tmp_path), "--url", running)
    assert list(tmp_path.rglob("*.md"))
