"""Building for real: what is in the images, what a rebuild repeats, and how a build fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import programs
from compose_projects import inspected
from paddock import __version__
from programs import PADDOCK, Finished, docker, succeeded
from repository import REPOSITORY
from workshop import Workshop

BUILD_LIMIT = 1800.0  # seconds


def paddock(*arguments: str, root: Path, **environment: str) -> Finished:
    """Run `paddock` in a workspace of its own."""
    own = {"PADDOCK_ROOT": str(root), **environment}
    return programs.paddock(*arguments, limit=BUILD_LIMIT, environment=own)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy of the generated files, free to be changed."""
    for name in ("images", "compose"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def prefix() -> Iterator[str]:
    """Names for images that only one test uses; removed after it."""
    name = f"paddock-test-{os.getpid()}/"
    yield name
    made = docker("image", "ls", "--quiet", "--filter", f"reference={name}*").split()
    if made:
        docker("image", "rm", "--force", *made)


def add_before_user(dockerfile: Path, instructions: str) -> None:
    """Add instructions that a build runs before the image gets its user."""
    text = dockerfile.read_text("utf-8")
    dockerfile.write_text(text.replace("USER 10001:0", f"{instructions}\nUSER 10001:0"), "utf-8")


def test_images_carry_labels_and_run_as_anyone(workspace: Path, prefix: str) -> None:
    built = paddock(
        "build", "cpu", "--json", root=workspace, IMAGE_PREFIX=prefix, SOURCE_DATE_EPOCH="1700000000"
    )
    assert built.returncode == 0, built.stderr
    images = json.loads(built.stdout)["images"]
    assert images == [f"{prefix}cpu-api:{__version__}", f"{prefix}cpu-vllm:{__version__}"]
    for image, backend in zip(images, ("paddlex", "vllm"), strict=True):
        config = inspected(image)["Config"]
        assert config["User"] == "10001:0"
        assert config["Healthcheck"]
        labels = config["Labels"]
        assert labels["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
        assert labels["org.opencontainers.image.version"] == __version__
        assert labels["org.opencontainers.image.revision"]
        assert (labels["io.paddock.target"], labels["io.paddock.backend"]) == ("cpu", backend)
        assert labels["io.paddock.variant"] == "online"


@pytest.mark.parametrize("name", ["api", "vllm", "llama.cpp"])
def test_images_hold_no_compiler_no_cache_and_no_secret(images: tuple[str, ...], name: str) -> None:
    image = next(image for image in images if f"cpu-{name}:" in image)
    script = """
        for program in gcc g++ cc make pip pip3 uv apt-listchanges; do command -v $program && exit 1; done
        for place in /root/.cache /var/cache/uv /run/secrets /tmp/uv; do
            [ -z "$(ls -A $place 2>/dev/null)" ] || { ls -lA $place; exit 1; }
        done
        if [ -d /opt/venv ] && [ -z "$(find /opt/venv -name '*.pyc' | head -n 1)" ]; then
            echo no byte code; exit 1
        fi
        [ -z "$(find / -xdev -type f -perm /6002 | tee /dev/stderr)" ]
    """
    done = programs.run("docker", "run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    history = docker("image", "history", "--no-trunc", image)
    assert "BEGIN CERTIFICATE" not in history
    assert os.environ.get("PIP_INDEX_URL", "no index") not in history


def test_a_change_of_a_late_file_repeats_no_installation(workspace: Path, prefix: str) -> None:
    serve = workspace / "images/cpu/api/serve.py"
    serve.write_text(serve.read_text() + "# changed\n")
    built = paddock("build", "cpu", root=workspace, IMAGE_PREFIX=prefix)
    assert built.returncode == 0, built.stderr
    assert "differ from a fresh render (images/cpu/api/serve.py)" in built.stderr
    log = (workspace / ".paddock/build-cpu.log").read_text()
    steps = {line.split()[0]: line for line in log.splitlines() if "] RUN " in line}
    cached = {line.split()[0] for line in log.splitlines() if line.endswith(" CACHED")}
    assert len(steps) > 6
    assert set(steps) <= cached, [steps[number] for number in set(steps) - cached]


def test_a_failing_step_shows_its_own_last_lines(workspace: Path, prefix: str) -> None:
    dockerfile = workspace / "images/cpu/vllm/Dockerfile"
    add_before_user(dockerfile, "RUN seq 1 2000 && echo it broke here >&2 && exit 3")
    built = paddock("build", "cpu", root=workspace, IMAGE_PREFIX=prefix)
    assert built.returncode == 6
    assert "it broke here" in built.stderr
    assert "exit code: 3" in built.stderr
    failure = built.stderr[built.stderr.index("error:") :]
    assert len(failure.splitlines()) < 60
    assert "build-cpu.log" in failure


def test_a_full_disk_is_named(workspace: Path, prefix: str) -> None:
    dockerfile = workspace / "images/cpu/vllm/Dockerfile"
    fill = "RUN --mount=type=tmpfs,target=/full,size=1048576 dd if=/dev/zero of=/full/file bs=1M count=2"
    add_before_user(dockerfile, f"USER 0:0\n{fill}")
    built = paddock("build", "cpu", root=workspace, IMAGE_PREFIX=prefix)
    assert built.returncode == 5, built.stderr
    assert "ran out of disk space" in built.stderr
    assert "docker builder prune" in built.stderr


def test_ctrl_c_ends_a_build_with_130_and_no_image(workspace: Path, prefix: str) -> None:
    dockerfile = workspace / "images/cpu/vllm/Dockerfile"
    add_before_user(dockerfile, "RUN sleep 600")
    environment = {"PADDOCK_ROOT": str(workspace), "IMAGE_PREFIX": prefix}
    running = programs.start(*PADDOCK, "build", "cpu", environment=environment, new_session=True)
    with running:
        assert running.stderr is not None
        for line in running.stderr:
            if "RUN sleep 600" in line:
                break
        time.sleep(1)
        os.killpg(running.pid, signal.SIGINT)
        _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130, stderr
    assert "interrupted" in stderr
    assert f"{prefix}cpu-vllm" not in docker("image", "ls")


def test_weights_make_the_same_layer_in_every_image(workspace: Path, prefix: str, shop: Workshop) -> None:
    built = [offline_vlm(workspace, f"{prefix}first-", shop.models)]
    # Other content below the weights, and weights that somebody copied with other times and modes.
    dockerfile = workspace / "images/cpu/vllm/Dockerfile"
    add_before_user(dockerfile, "RUN echo other > /other")
    copied = workspace / "copied"
    for name in ("PaddleOCR-VL-1.6", "PP-DocLayoutV3"):
        shutil.copytree(shop.models / name, copied / name, copy_function=shutil.copyfile)
        for path in (copied / name).iterdir():
            path.chmod(0o600)
    built.append(offline_vlm(workspace, f"{prefix}second-", copied))
    layers = [layers_of(image) for image in built]
    assert layers[0] != layers[1]
    assert layers[0][-7:-2] == layers[1][-7:-2], "weights, and four layers of packages"
    listed = docker(
        "run", "--rm", "--network=none", "--entrypoint=ls", built[1], "-l", "/models/PaddleOCR-VL-1.6"
    )
    assert "-rw-r--r--" in listed
    assert "model.safetensors" in listed


def test_packages_make_the_same_layers_in_every_build(workspace: Path, prefix: str) -> None:
    """Installed anew without any build cache; then with another version of one package of the last layer."""
    context = workspace / "images/cpu/api"
    dockerfile = context / "Dockerfile"
    build, _, rest = dockerfile.read_text().partition("FROM os AS system\n")
    copies = list(dict.fromkeys(line for line in rest.splitlines() if "--from=build" in line))
    assert len(copies) == 3
    dockerfile.write_text("\n".join([build, "FROM scratch", *copies, ""]))
    built = []
    for number, requests in enumerate(("2.34.2", "2.34.2", "2.34.1")):
        packages = (
            "numpy==2.3.5",
            "pyyaml==6.0.3",
            "jinja2==3.1.6",
            "markupsafe==3.0.4",
            f"requests=={requests}",
        )
        (context / "requirements.amd64.txt").write_text("\n".join(packages) + "\n")
        image = f"{prefix}{number}"
        secret = [f"--secret=id=ca-bundle,src={os.environ['PIP_CERT']}"] if "PIP_CERT" in os.environ else []
        anew = ["--no-cache"] if requests == "2.34.2" else []  # another version is another step anyway
        docker("buildx", "build", "--quiet", *anew, "--load", *secret, "--tag", image, str(context))
        built.append(layers_of(image))
    assert built[0] == built[1]
    assert built[0][:2] == built[2][:2], "compute, libraries"
    assert built[0][2] != built[2][2], "packages"


def offline_vlm(workspace: Path, prefix: str, models: Path) -> str:
    """Build an image with these weights; its reference."""
    settings = {"IMAGE_PREFIX": prefix, "MODELS_DIR": str(models)}
    built = succeeded(paddock("build", "cpu-offline", "--json", root=workspace, **settings))
    image: str = json.loads(built)["images"][1]
    return image


def layers_of(image: str) -> list[str]:
    layers: list[str] = inspected(image)["RootFS"]["Layers"]
    return layers


def test_weights_that_are_missing_are_named(workspace: Path) -> None:
    built = paddock("build", "cpu", "--offline", root=workspace)
    assert built.returncode == 7
    assert "PP-DocLayoutV3" in built.stderr
    assert "paddock models fetch" in built.stderr


def test_without_an_engine(workspace: Path) -> None:
    built = paddock("build", "cpu", root=workspace, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert built.returncode == 5
    assert "/nowhere/docker.sock" in built.stderr
