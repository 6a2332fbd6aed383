"""The image of the tool for real: built from this checkout, and run by its script as if paddock were
installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from paddock import __version__
from paddock.render.renderer import WRAPPER
from repository import REPOSITORY

LIMIT = 900  # seconds
PREFIX = f"paddock-test-tool-{os.getpid()}/"
SAMPLE = REPOSITORY / "docs/sample/receipt.png"


@pytest.fixture(scope="module")
def image(engine_cli) -> Iterator[str]:
    """The image, built under a name of our own."""
    built = subprocess.run(
        [sys.executable, "-m", "paddock", "build", "tool"],
        env={**os.environ, "IMAGE_PREFIX": PREFIX},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    yield built.stdout.strip()
    engine_cli("image", "rm", "--force", built.stdout.strip(), check=False)


class Site:
    """A folder where nothing is installed but Docker: the script in it, and a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "paddock"
        shutil.copy(REPOSITORY / WRAPPER, self.script)
        self.script.chmod(0o755)

    def argv(self, *arguments: str | Path, as_nobody: bool = False) -> list[str]:
        someone = (
            ["setpriv", "--reuid=65534", "--regid=65534", f"--groups={socket_group()}"] if as_nobody else []
        )
        return [*someone, "sh", str(self.script), *map(str, arguments)]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "IMAGE_PREFIX": PREFIX,
            "PADDOCK_STATE": str(self.folder / "state"),
            **more,
        }

    def run(
        self, *arguments: str | Path, as_nobody: bool = False, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments, as_nobody=as_nobody),
            cwd=self.folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )


def socket_group() -> int:
    """The group that may open the engine's socket."""
    return Path("/var/run/docker.sock").stat().st_gid


@pytest.fixture
def site(image: str) -> Iterator[Site]:
    """Not among pytest's folders, which are private: other users work here."""
    assert image == f"{PREFIX}tool:{__version__}"
    with TemporaryDirectory(dir="/var/tmp", prefix="paddock-site-") as folder:
        Path(folder).chmod(0o777)
        yield Site(Path(folder))


def test_it_carries_what_a_site_needs_and_no_engine(image: str, engine_cli) -> None:
    found = json.loads(engine_cli("image", "inspect", image))[0]
    assert found["Config"]["User"] == "10001:0"
    assert found["Config"]["Labels"]["org.opencontainers.image.version"] == __version__
    assert found["Size"] < 280e6, f"{found['Size'] / 1e6:.0f} MB"
    script = """
        set -e
        docker --version && docker compose version
        for program in dockerd containerd docker-buildx pip pip3 gcc uv; do
            ! command -v $program || exit 1
        done
        ! docker buildx version 2>/dev/null
        python -c 'import paddock; assert "checkout" not in paddock.__file__, paddock.__file__'
        [ -z "$(find / -xdev -path /proc -prune -o -perm /6000 -type f -path '/usr/lib/paddock/*' -print)" ]
    """
    engine_cli("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script)
    history = engine_cli("image", "history", "--no-trunc", image)
    assert os.environ.get("PIP_INDEX_URL", "no index") not in history


def test_its_packages_have_the_versions_of_constraints_txt(image: str, engine_cli) -> None:
    listed = engine_cli(
        "run",
        "--rm",
        "--network=none",
        "--entrypoint=python",
        image,
        "-c",
        "import importlib.metadata as m; print(*(f'{d.name.lower()}=={d.version}' for d in m.distributions()))",
    ).split()
    constraints = (REPOSITORY / "constraints.txt").read_text().split()
    assert len(listed) > 8
    assert {re.sub("[_.](?=.*==)", "-", each) for each in listed} - set(constraints) == {
        f"paddock=={__version__}"
    }


def test_a_second_build_holds_the_same_python_files(image: str, engine_cli, tmp_path: Path) -> None:
    """Built without any cache: paddock and its packages are the same bytes, byte code too."""
    script = "find /usr/lib/paddock -type f ! -name direct_url.json ! -name RECORD | sort | xargs sha256sum | sha256sum"
    args = ("run", "--rm", "--network=none", "--entrypoint=sh")
    before = engine_cli(*args, image, "-c", script)
    again = f"{PREFIX}again/"
    built = subprocess.run(
        [sys.executable, "-m", "paddock", "build", "tool", "--no-cache"],
        env={**os.environ, "IMAGE_PREFIX": again},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    try:
        assert engine_cli(*args, built.stdout.strip(), "-c", script) == before
    finally:
        engine_cli("image", "rm", "--force", built.stdout.strip(), check=False)


def test_output_and_exit_status_are_the_programs_own(site: Site) -> None:
    version = site.run("--version")
    assert (version.returncode, version.stdout, version.stderr) == (0, f"paddock {__version__}\n", "")
    wrong = site.run("up", "no-such-target")
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert 'unknown target "no-such-target"' in wrong.stderr


def test_ctrl_c_ends_it_with_130(site: Site) -> None:
    """Without a terminal, where docker hands the signal on to the container. The server here never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        running = _started(site, "parse", SAMPLE, "-o", "out", "--url", url)
        connection, _ = silent.accept()
        with connection:
            os.killpg(running.pid, signal.SIGINT)
            _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said


def _started(site: Site, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        site.argv(*arguments),
        cwd=site.folder,
        env=site.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def image_beside_the_stacks(image: str, shop, engine_cli) -> Iterator[None]:
    """The tool's image under the prefix of the stacks' images: one IMAGE_PREFIX is for all of them."""
    engine_cli("tag", image, f"{shop.prefix}tool:{__version__}")
    yield
    engine_cli("image", "rm", f"{shop.prefix}tool:{__version__}", check=False)


@pytest.mark.usefixtures("image_beside_the_stacks")
def test_somebody_without_root_starts_and_stops_a_stack(
    site: Site, shop, project: str, free_port: int, ids_of
) -> None:
    """In a folder with the stack and nothing else: weights behind a link, files made with the caller's uid."""
    stack = site.folder / "compose/cpu-llama.cpp"
    shutil.copytree(shop.root / "compose/cpu-llama.cpp", stack)
    shutil.copytree(shop.models, site.folder / "weights")
    elsewhere = site.folder / "link"
    elsewhere.symlink_to(site.folder / "weights")
    settings = {"IMAGE_PREFIX": shop.prefix, "MODELS_DIR": str(elsewhere), "API_PORT": str(free_port)}

    def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return site.run(*arguments, as_nobody=True, **{**settings, **more})

    missing = run("up", stack, "--project", project, MODELS_DIR=f"{elsewhere}/none")
    assert missing.returncode == 9, missing.stderr
    assert f"{elsewhere}/none: is not there" in missing.stderr
    (site.folder / "private").mkdir(mode=0o700)
    private = run("up", stack, "--project", project, MODELS_DIR=str(site.folder / "private/weights"))
    assert private.returncode == 9, private.stderr
    assert "private/weights: this user may not look at it" in private.stderr
    up = run("up", stack, "--project", project)
    assert up.returncode == 0, up.stderr
    assert "test weights" in up.stdout + up.stderr
    try:
        parsed = run("parse", SAMPLE, "-o", "out")
        assert parsed.returncode == 0, parsed.stderr
        assert (site.folder / "out/receipt.png/document.md").stat().st_uid == 65534
        status = run("status", stack, "--project", project, "--json")
        assert json.loads(status.stdout)["stacks"][0]["ready"] is True
    finally:
        down = run("down", stack, "--project", project)
    assert down.returncode == 0, down.stderr
    assert not ids_of(project)
