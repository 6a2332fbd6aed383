"""Python that comes with weights runs only where its hash is written down (image/sglang/serve.py)."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

from paddock import paths
from paddock.matrix.load import load_registry
from paddock.render.renderer import Renderer
from programs import Finished, run
from repository import REPOSITORY

REGISTRY = load_registry(paths.templates())
TRUSTING = [
    stack
    for stack in REGISTRY.all_stacks()
    if stack.settings.get("trust-remote-code") and not stack.model.made
]
SERVE = REPOSITORY / "templates/image/sglang/serve.py"
SERVER = """
import os
def prepare_server_args(arguments):
    options = {"api_key": "", "trust_remote_code": True, "model_path": os.environ["WEIGHTS"]}
    return type("Arguments", (), options)()
def run_server(arguments):
    print("the server runs")
def kill_process_tree(pid, include_parent):
    pass
"""


def test_only_servers_that_cannot_do_without_it_run_code_of_weights() -> None:
    assert {stack.backend.name for stack in TRUSTING} == {"sglang"}


def test_each_names_the_hashes_of_that_code() -> None:
    renderer = Renderer(paths.templates())
    for stack in TRUSTING:
        known = [digest for digests in stack.model.code.values() for digest in digests]
        assert len(known) >= 4
        files = renderer.contexts(REGISTRY.stack(target=stack.target.name, backend=stack.backend.name))
        text = next(text for path, text in files.items() if path.parts[-2:] == ("sglang", "Dockerfile"))
        found = re.search(r'PADDOCK_MODEL_CODE="([^"]*)"', text)
        assert found
        assert set(known) <= set(found[1].split())


@pytest.fixture
def start(tmp_path: Path) -> object:
    """Starts SGLang's program with stand-ins for SGLang itself."""
    for name in ("__init__", "launch_server", "srt/__init__", "srt/server_args", "srt/utils"):
        path = tmp_path / f"sglang/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SERVER)
    (tmp_path / "weights/sub").mkdir(parents=True)
    (tmp_path / "key").write_text("secret")

    def started(known: str) -> Finished:
        environment = {
            "PYTHONPATH": str(tmp_path),
            "WEIGHTS": str(tmp_path / "weights"),
            "PADDOCK_KEY_FILE": str(tmp_path / "key"),
            "PADDOCK_MODEL_CODE": known,
        }
        return run(sys.executable, SERVE, environment=environment)

    return started


def test_code_that_nobody_has_written_down_stops_the_start(tmp_path: Path, start: object) -> None:
    assert callable(start)
    code = tmp_path / "weights/sub/modeling.py"
    code.write_text("print('evil')")
    digest = hashlib.sha256(code.read_bytes()).hexdigest()
    refused = start("0f" * 32)
    assert refused.returncode == 1
    assert "the server runs" not in refused.stdout
    assert f"{digest}  {code}" in refused.stderr
    assert "PADDOCK_MODEL_CODE" in refused.stderr
    assert "the server runs" in start(f"{'0f' * 32} {digest}").stdout
    code.unlink()
    assert "the server runs" in start("").stdout
