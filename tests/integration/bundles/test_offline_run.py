"""`paddock verify --offline-run`: bundles are tried in an engine without a network; nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs import PADDOCK, Finished, docker, require_failure, run, succeeded
from samples import bundles
from site_engine import SiteEngine, file_system
from small_images import EXITS, WAITS, program, tar
from workshop import Workshop

LIMIT = 300  # seconds
API = "paddock/cpu-api:0.1.0"
COMPOSE = b"""name: tried
services:
  api:
    image: paddock/cpu-api:0.1.0
    pull_policy: never
    ports: ["127.0.0.1:8080:8080"]
    stop_signal: SIGKILL
"""


def stack_of(folder: Path, code: bytes) -> Path:
    """A bundle with a stack whose only container runs this code."""
    bundles.write(
        folder,
        images={API: [tar({"program": program(code)})]},
        files={"stack/compose.yaml": COMPOSE},
        config=lambda said: {**said, "config": {"Cmd": ["/program"]}},
    )
    return folder


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the second engine's folder is made. Not among pytest's folders: the path of a socket is short."""
    made = tempfile.TemporaryDirectory(prefix="paddock-test-", dir="/var/tmp")
    with made as folder, file_system(Path(folder), None, in_memory=True):
        yield Path(folder)


def command(bundle: Path, scratch: Path, *more: str | Path) -> list[str]:
    argv = [*PADDOCK, "verify", bundle, "--offline-run", "--scratch", scratch, *more]
    return [str(word) for word in argv]


def environment(site: SiteEngine, tmp_path: Path) -> dict[str, str]:
    return {**site.environment(), "PADDOCK_STATE": str(tmp_path / "state")}


def tried(site: SiteEngine, tmp_path: Path, scratch: Path, *more: str | Path) -> Finished:
    argv = command(tmp_path / "bundle", scratch, *more)
    return run(*argv, environment=environment(site, tmp_path), cwd=tmp_path)


def left(scratch: Path) -> list[str]:
    """Processes and mounts that name something below the scratch folder, and what lies in it."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{scratch}/" in line]
    return [*running(scratch), *mounts, *map(str, scratch.iterdir())]


def running(scratch: Path) -> list[str]:
    """The command lines of the trial's engine and of the container in it."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{scratch}/paddock-offline-" in line or line == "/program ":
            lines.append(line)
    return lines


def test_images_alone_are_imported(site: SiteEngine, tmp_path: Path, scratch: Path) -> None:
    """Into the store that this machine's engine has; the host's engine and state are not touched."""
    bundles.write(tmp_path / "bundle", files={"README.txt": b"Two images.\n"})
    done = tried(site, tmp_path, scratch, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["offline_run"]["store"] == site.store
    assert found["offline_run"]["started"] is None
    assert found["offline_run"]["left_out"] == "the bundle has images and no stack"
    assert site.docker("images", "--quiet") == ""
    assert not (tmp_path / "state").exists()
    assert left(scratch) == []


def test_a_delta_is_imported_after_its_base(site: SiteEngine, tmp_path: Path, scratch: Path) -> None:
    bundles.write(tmp_path / "base", files={})
    bundles.write(tmp_path / "bundle", images={API: bundles.LAYERS[1:]}, files={}, on=bundles.LAYERS)
    require_failure(tried(site, tmp_path, scratch), 7, "--base DIR")
    done = tried(site, tmp_path, scratch, "--base", tmp_path / "base")
    assert done.returncode == 0, done.stderr
    assert "not started" in done.stdout
    assert left(scratch) == []


def test_a_broken_image_fails_and_everything_is_taken_down(
    site: SiteEngine, tmp_path: Path, scratch: Path
) -> None:
    stack_of(tmp_path / "bundle", EXITS)
    done = tried(site, tmp_path, scratch)
    assert done.returncode == 8, done.stderr
    assert "exit status 7" in done.stderr
    assert "export again" in done.stderr
    assert left(scratch) == []


@pytest.mark.parametrize("site", ["classic"], indirect=True)
def test_a_bad_bundle_starts_no_engine(site: SiteEngine, tmp_path: Path, scratch: Path) -> None:
    part = stack_of(tmp_path / "bundle", EXITS) / "images.tar.000"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    done = tried(site, tmp_path, scratch)
    assert (done.returncode, "starting an engine" in done.stderr) == (7, False)


@pytest.mark.parametrize("site", ["classic"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_in_the_middle_nothing_runs_on(
    site: SiteEngine, tmp_path: Path, scratch: Path, number: int
) -> None:
    bundle = stack_of(tmp_path / "bundle", WAITS)
    with (tmp_path / "said").open("wb") as said:
        trial = subprocess.Popen(
            command(bundle, scratch),
            env={**os.environ, **environment(site, tmp_path)},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    end = time.monotonic() + LIMIT
    while "/program " not in running(scratch):
        assert trial.poll() is None, (tmp_path / "said").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    trial.send_signal(number)
    status = trial.wait(timeout=LIMIT)
    if number == signal.SIGKILL:
        assert status == -number
        while running(scratch):
            assert time.monotonic() < end, running(scratch)
            time.sleep(0.1)
        return
    assert status == 130, (tmp_path / "said").read_text()
    assert left(scratch) == []


def test_a_stack_runs_from_its_bundle_alone(shop: Workshop, tmp_path: Path) -> None:
    """A real one, with weights in its images: exported, imported, started and asked without a network."""
    stack = ("cpu", "--backend", "llama.cpp", "--offline")
    built = shop.paddock("build", *stack, "--json")
    assert built.returncode == 0, built.stderr
    try:
        succeeded(shop.paddock("export", *stack, "--no-tool", "--output", tmp_path / "bundle"))
    finally:
        docker("image", "rm", "--force", *json.loads(built.stdout)["images"])
    with tempfile.TemporaryDirectory(prefix="paddock-test-", dir="/var/tmp") as scratch:
        verify = ("verify", tmp_path / "bundle", "--offline-run", "--scratch", scratch, "--json")
        said = succeeded(shop.paddock(*verify, PADDOCK_STATE=str(tmp_path / "state"), MODELS_DIR="/nowhere"))
        assert left(Path(scratch)) == []
    started = json.loads(said)["offline_run"]["started"]
    assert (started["stack"], started["pages"], started["test_weights"]) == ("cpu-llama.cpp-offline", 2, True)
    assert "this text was not read from the page" in started["markdown"]
