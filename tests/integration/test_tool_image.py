"""The tool's image for real: built from this checkout, and run by its script as if paddock were installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import programs
from compose_projects import containers_of, inspected
from paddock import __version__
from paddock.render.renderer import WRAPPER
from programs import Finished, docker, paddock, succeeded
from repository import REPOSITORY
from workshop import Workshop

PREFIX = f"paddock-test-tool-{os.getpid()}/"
SAMPLE = REPOSITORY / "docs/sample/receipt.png"


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The image, built under a name of our own."""
    reference = succeeded(paddock("build", "tool", cwd=REPOSITORY, IMAGE_PREFIX=PREFIX)).strip()
    yield reference
    docker("image", "rm", "--force", reference, check=False)


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

    def run(self, *arguments: str | Path, as_nobody: bool = False, **more: str) -> Finished:
        argv = self.argv(*arguments, as_nobody=as_nobody)
        return programs.run(*argv, cwd=self.folder, environment=self.environment(**more), inherit=False)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start it in a process group of its own."""
        argv = self.argv(*arguments)
        environment = self.environment()
        return programs.start(
            *argv, cwd=self.folder, environment=environment, inherit=False, new_session=True
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


def test_it_carries_what_a_site_needs_and_no_engine(image: str) -> None:
    state = inspected(image)
    assert state["Config"]["User"] == "10001:0"
    assert state["Config"]["Labels"]["org.opencontainers.image.version"] == __version__
    assert state["Size"] < 300e6, f"{state['Size'] / 1e6:.0f} MB"
    script = """
        set -e
        docker --version && docker compose version
        for program in dockerd containerd docker-buildx pip pip3 gcc uv; do
            ! command -v $program || exit 1
        done
        ! docker buildx version 2>/dev/null
        python -c 'import paddock; assert "checkout" not in paddock.__file__, paddock.__file__'
        [ -z "$(find / -xdev -path /proc -prune -o -type f -perm /6000 -print)" ]
    """
    docker("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script)
    history = docker("image", "history", "--no-trunc", image)
    assert os.environ.get("PIP_INDEX_URL", "no index") not in history


def test_its_packages_have_the_versions_of_constraints_txt(image: str) -> None:
    each = "f'{d.name.lower()}=={d.version}' for d in importlib.metadata.distributions()"
    code = f"import importlib.metadata; print(*({each}))"
    python = ("run", "--rm", "--network=none", "--entrypoint=python", image)
    listed = [re.sub("[_.](?=.*==)", "-", package) for package in docker(*python, "-c", code).split()]
    constraints = (REPOSITORY / "constraints.txt").read_text().split()
    assert len(listed) > 8
    assert set(listed) - set(constraints) == {f"paddock=={__version__}"}


def test_a_second_build_holds_the_same_python_files(image: str, tmp_path: Path) -> None:
    """Built without any cache: paddock and its packages are the same bytes, byte code too."""
    before = digest_of_python_files(image)
    build = paddock("build", "tool", "--no-cache", cwd=REPOSITORY, IMAGE_PREFIX=f"{PREFIX}again/")
    again = succeeded(build).strip()
    try:
        assert digest_of_python_files(again) == before
    finally:
        docker("image", "rm", "--force", again, check=False)


def digest_of_python_files(image: str) -> str:
    files = "find /usr/lib/paddock -type f ! -name direct_url.json ! -name RECORD"
    script = f"{files} | sort | xargs sha256sum | sha256sum"
    return docker("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script)


def test_output_and_exit_status_are_the_programs_own(site: Site) -> None:
    version = site.run("--version")
    assert (version.returncode, version.stdout, version.stderr) == (0, f"paddock {__version__}\n", "")
    wrong = site.run("up", "no-such-target")
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert 'unknown target "no-such-target"' in wrong.stderr


def test_ctrl_c_ends_it_with_130(site: Site) -> None:
    """Without a terminal docker hands the signal on to the container. The server here never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        running = site.start("parse", SAMPLE, "-o", "out", "--url", url)
        connection, _ = silent.accept()
        with connection:
            os.killpg(running.pid, signal.SIGINT)
            _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said


@pytest.fixture
def image_beside_the_stacks(image: str, shop: Workshop) -> Iterator[None]:
    """The tool's image under the prefix of the stacks' images: one IMAGE_PREFIX is for all of them."""
    docker("tag", image, shop.image("tool"))
    yield
    docker("image", "rm", shop.image("tool"), check=False)


@pytest.mark.usefixtures("image_beside_the_stacks")
def test_somebody_without_root_starts_and_stops_a_stack(
    site: Site, shop: Workshop, project: str, free_port: int
) -> None:
    """In a folder with nothing but the stack: weights behind a link, files made with the caller's uid."""
    stack = site.folder / "compose/cpu-llama.cpp"
    shutil.copytree(shop.root / "compose/cpu-llama.cpp", stack)
    shutil.copytree(shop.models, site.folder / "weights")
    elsewhere = site.folder / "link"
    elsewhere.symlink_to(site.folder / "weights")
    settings = {"IMAGE_PREFIX": shop.prefix, "MODELS_DIR": str(elsewhere), "API_PORT": str(free_port)}

    def run(*arguments: str | Path, **more: str) -> Finished:
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
    assert not containers_of(project)
