"""The whole command line as a normal user in the group docker: umask 077, no HOME, a checkout of root's.

What such a user may not do is refused in one line; everything else works, on a stack of somebody else's, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from normal_user import NormalUser, normal_user
from programs import Finished, docker, require_failure, succeeded
from workshop import RunningStack

SAMPLE = "docs/sample/receipt.png"
NAME = f"paddock-test-user-{os.getpid()}:1"


@pytest.fixture(scope="module")
def user() -> Iterator[NormalUser]:
    with normal_user() as somebody:
        yield somebody


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with one small file."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /{os.getpid()}\n")
    docker("build", "--quiet", "--tag", NAME, folder)
    yield NAME
    docker("image", "rm", "--force", NAME, check=False)


def test_what_the_checkout_says_is_read(user: NormalUser) -> None:
    assert "generated files are current" in succeeded_on_stderr(user.run("render", "--check"))
    assert succeeded(user.run("models", "list", "--json", cwd=user.checkout))
    assert "Docker Engine" in user.run("doctor", "cpu").stdout
    assert "API_PORT" in succeeded(user.run("config", "list", "cpu"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "-o", "/rendered"],
        ["config", "set", "cpu", "API_PORT=8081"],
        ["models", "make-test", "paddleocr-vl-1.6", "--role", "vlm"],
        ["tune", "cu126", "--vram", "24", "--write"],
        ["keys", "add", "scanner"],
        ["trust", "list"],
        ["export", "--image", NAME, "--no-tool", "-o", "/exported"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),  # without the name, which each process makes its own
)
@pytest.mark.usefixtures("image")
def test_what_only_root_may_is_refused_in_one_line(user: NormalUser, arguments: list[str]) -> None:
    """There is no HOME, and the checkout, / and /etc are root's."""
    done = user.run(*arguments)
    assert done.returncode in {3, 7, 9}, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\nhint: ") == 1


def test_a_bundle_goes_out_and_comes_in(user: NormalUser, image: str) -> None:
    state = {"PADDOCK_STATE": str(user.home / "state"), "HOME": "/"}
    run = partial(user.run, environment=state)
    succeeded(run("keygen", "key"))
    succeeded(run("trust", "add", "key.pub"))
    identity = docker("image", "inspect", "--format={{.Id}}", image).strip()
    succeeded(run("export", "--image", identity, "--no-tool", "-o", "b", "--sign", "key"))
    succeeded(run("verify", "b"))
    docker("image", "rm", image)
    succeeded(run("import", "b"))
    assert docker("image", "ls", "--quiet", image)
    assert json.loads(succeeded(run("receipt")))["images"]
    assert "no import was cut short" in run("import", "--abandon").stderr
    require_failure(run("rollback"), 7, "replaced nothing")
    succeeded(run("keys", "add", "scanner", "--file", "keys"))
    assert succeeded(run("keys", "list", "--file", "keys")) == "scanner\n"


def test_a_stack_of_somebody_elses(user: NormalUser, stack: RunningStack) -> None:
    shop = stack.shop
    settings = {"MODELS_DIR": str(shop.models), "IMAGE_PREFIX": shop.prefix}
    run = partial(user.run, environment=settings)
    here: list[str | Path] = [shop.root / "compose/cpu", "--project", stack.project]
    succeeded(run("up", *here, "--no-wait"))
    status = json.loads(succeeded(run("status", *here, "--json")))
    assert status["stacks"][0]["project"] == stack.project
    done = run("parse", user.checkout / SAMPLE, "-o", "out", "--url", stack.url)
    assert done.returncode == 0, done.stderr
    assert (user.home / "out/receipt.png/document.md").stat().st_mode & 0o077 == 0
    assert succeeded(run("logs", *here, "--tail", "3"))
    assert run("down", *here[:1], "--project", f"{stack.project}-none").returncode == 0


def succeeded_on_stderr(done: Finished) -> str:
    succeeded(done)
    return done.stderr
