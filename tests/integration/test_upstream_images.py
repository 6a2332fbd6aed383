"""IMAGES=upstream for real, on stand-ins for upstream's images.

Those are our images for a processor with upstream's user, HOME and commands, and nothing of ours in them
(standins/upstream). The stack is cu126's, without its card.

What this does not show: that upstream's images hold what its Dockerfiles say, and that they run on a card.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose_projects import containers_of, inspected, resources_of
from paddock import paths
from paddock.matrix import upstream
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant
from programs import docker
from workshop import Workshop, open_to_other_users, set_variables

STANDIN = Path(__file__).parent / "standins" / "upstream"
DATA = load_registry(paths.templates())
OURS = {"api": "cpu-api", "vlm": "cpu-vllm"}
PREFLIGHT = 9
# There is no card here, and vLLM for processors takes some other options.
WITHOUT_CARD = """x-host: !reset null
services:
  api:
    deploy: !reset null
    environment: {PADDOCK_DEVICE: cpu}
  vlm:
    deploy: !reset null
    environment: {VLLM_CPU_KVCACHE_SPACE: "1", VLLM_ENABLE_V1_MULTIPROCESSING: "0"}
"""


@pytest.fixture(scope="module")
def upstream_prefix(shop: Workshop) -> Iterator[str]:
    """Stand-ins under upstream's names, with a prefix of our own."""
    prefix = f"paddock-test-upstream-{os.getpid()}/"
    made = []
    for variant in Variant:
        stack = DATA.stack(target="cu126", variant=variant)
        for service, image in upstream.images(stack).items():
            made.append(prefix + image.image_of(variant).rpartition("/")[2])
            given = (f"--build-arg=OURS={shop.image(OURS[service])}", f"--build-arg=UPSTREAM_UID={image.uid}")
            names = (f"--target={variant}", f"--tag={made[-1]}", f"--build-context=weights={shop.models}")
            docker("buildx", "build", "--load", "--quiet", *names, *given, STANDIN)
    yield prefix
    docker("image", "rm", *made, check=False)


@pytest.fixture(params=[Variant.ONLINE])
def folder(request: pytest.FixtureRequest, shop: Workshop, upstream_prefix: str, tmp_path: Path) -> Path:
    """The folder of a stack, as somebody without a card would change it."""
    name = DATA.stack(target="cu126", variant=request.param).name
    made = shutil.copytree(shop.root / "compose" / name, tmp_path / name)
    shutil.copytree(shop.root / "compose/upstream", tmp_path / "upstream")
    open_to_other_users(tmp_path)
    shutil.copy(shop.root / "compose/cpu/vlm.yaml", made)
    (made / "compose.override.yaml").write_text(WITHOUT_CARD)
    memory = {"API_MEMORY": "4g", "VLM_MEMORY": "8g"}
    set_variables(made / ".env", IMAGES="upstream", UPSTREAM_PREFIX=upstream_prefix, **memory)
    return made


def test_a_page_goes_through_upstreams_images(
    folder: Path, shop: Workshop, project: str, free_port: int
) -> None:
    up = shop.paddock("up", folder, "--project", project, "--port", str(free_port), "--json")
    assert up.returncode == 0, up.stderr
    started = json.loads(up.stdout)
    assert started["model"] == "PaddleOCR-VL-1.6-0.9B"
    assert {weights["name"]: weights["test"] for weights in started["weights"]} == {
        "PP-DocLayoutV3": True,
        "PaddleOCR-VL-1.6": True,
    }
    for service, uid in (("api", 1000), ("vlm", 1000)):
        (container,) = containers_of(project, service)
        state = inspected(container)
        assert state["Config"]["Image"].startswith("paddock-test-upstream-")
        assert state["HostConfig"]["ReadonlyRootfs"] is True
        assert state["HostConfig"]["CapDrop"] == ["ALL"]
        assert docker("exec", container, "id", "-u").strip() == str(uid)
        key = docker("exec", container, "stat", "-c", "%u:%g %a", "/var/lib/paddock/vlm-api-key").strip()
        assert key == "1000:0 640"
        assert not re.search("[0-9a-f]{64}", docker("top", container, "-eo", "pid,args"))
    (status,) = json.loads(shop.paddock("status", "--project", project, "--json").stdout)["stacks"]
    assert status["ready"] is True
    assert {service["target"] for service in status["services"]} == {"cu126"}
    assert all(service["packages"] for service in status["services"])

    down = shop.paddock("down", folder, "--project", project, "--volumes")
    assert down.returncode == 0, down.stderr
    assert containers_of(project) == []
    assert resources_of(project, "volume") == []


@pytest.mark.parametrize("folder", [Variant.OFFLINE], indirect=True)
def test_an_offline_image_has_its_weights_where_the_configuration_names_them(
    folder: Path, project: str
) -> None:
    """Through the programs that start it, as its own user and without a folder of weights."""
    run = (
        "compose",
        "--project-directory",
        str(folder),
        "--project-name",
        project,
        "run",
        "--rm",
        "--no-deps",
    )
    for service, weights in (
        ("api", "PP-DocLayoutV3/inference.yml"),
        ("vlm", "PaddleOCR-VL-1.6/config.json"),
    ):
        started = (
            "--no-TTY",
            "--entrypoint",
            "sh /opt/paddock/start.sh head -c 1",
            service,
            f"/models/{weights}",
        )
        assert len(docker(*run, *started)) == 1, service


@pytest.mark.parametrize("folder", [Variant.OFFLINE], indirect=True)
def test_an_offline_image_that_is_not_here_is_to_be_pulled(
    folder: Path, shop: Workshop, project: str
) -> None:
    tried = shop.paddock("up", folder, "--project", project, UPSTREAM_PREFIX="nowhere.invalid/")
    assert tried.returncode == PREFLIGHT, tried.stderr
    assert "docker pull nowhere.invalid/paddleocr-" in tried.stderr
    assert "paddock build" not in tried.stderr
