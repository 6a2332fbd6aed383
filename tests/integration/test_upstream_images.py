"""IMAGES=upstream for real, on stand-ins for upstream's images: our images for a processor with upstream's
user, HOME and commands, and nothing of ours in them (standins/upstream). The stack is cu126's, without its
card.

What this does not show: that upstream's images hold what its Dockerfiles say, and that they run on a card.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paddock import paths
from paddock.matrix import upstream
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant

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
def upstream_prefix(shop) -> Iterator[str]:
    """Stand-ins under upstream's names, with a prefix of our own."""
    prefix = f"paddock-test-upstream-{os.getpid()}/"
    made = []
    for variant in Variant:
        stack = DATA.stack(target="cu126", variant=variant)
        for service, image in upstream.images(stack).items():
            made.append(prefix + image.image_of(variant).rpartition("/")[2])
            subprocess.run(
                [
                    *(
                        "docker",
                        "buildx",
                        "build",
                        "--load",
                        "--quiet",
                        f"--target={variant}",
                        f"--tag={made[-1]}",
                    ),
                    *(f"--build-arg=OURS={shop.prefix}{OURS[service]}:{shop.version}", str(STANDIN)),
                    *(f"--build-arg=UPSTREAM_UID={image.uid}", f"--build-context=weights={shop.models}"),
                ],
                check=True,
                timeout=600,
            )
    yield prefix
    subprocess.run(["docker", "image", "rm", *made], check=False, stdout=subprocess.DEVNULL, timeout=600)


@pytest.fixture(params=list(Variant))
def folder(request: pytest.FixtureRequest, shop, upstream_prefix: str, tmp_path: Path) -> Path:
    """The folder of a stack, as somebody without a card would change it."""
    name = DATA.stack(target="cu126", variant=request.param).name
    made = shutil.copytree(shop.root / "compose" / name, tmp_path / name)
    for parent in (
        tmp_path,
        *tmp_path.parents,
    ):  # pytest makes its folders private, containers run as other users
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    shutil.copy(shop.root / "compose/cpu/vlm.yaml", made)
    (made / "compose.override.yaml").write_text(WITHOUT_CARD)
    settings = (made / ".env").read_text()
    changed = {
        "IMAGES": "upstream",
        "UPSTREAM_PREFIX": upstream_prefix,
        "API_MEMORY": "4g",
        "VLM_MEMORY": "8g",
    }
    lines = [line for line in settings.splitlines() if line.partition("=")[0] not in changed]
    (made / ".env").write_text(
        "\n".join([*lines, *(f"{name}={value}" for name, value in changed.items())]) + "\n"
    )
    return made


def test_a_page_goes_through_upstreams_images(
    folder: Path,
    shop,
    project: str,
    free_port: int,
    engine_cli: Callable[..., str],
    ids_of: Callable[..., list[str]],
) -> None:
    up = shop.paddock("up", folder, "--project", project, "--port", str(free_port), "--json")
    assert up.returncode == 0, up.stderr
    started = json.loads(up.stdout)
    assert started["model"] == "PaddleOCR-VL-1.6-0.9B"
    assert {each["name"]: each["test"] for each in started["weights"]} == {
        "PP-DocLayoutV3": True,
        "PaddleOCR-VL-1.6": True,
    }
    for service, uid in (("api", 1000), ("vlm", 1000)):
        (container,) = ids_of(project, service)
        inspected = json.loads(engine_cli("inspect", container))[0]
        assert inspected["Config"]["Image"].startswith("paddock-test-upstream-")
        assert inspected["HostConfig"]["ReadonlyRootfs"] is True
        assert inspected["HostConfig"]["CapDrop"] == ["ALL"]
        assert engine_cli("exec", container, "id", "-u").strip() == str(uid)
        key = engine_cli("exec", container, "stat", "-c", "%u:%g %a", "/var/lib/paddock/vlm-api-key").strip()
        assert key == "1000:0 640"
        assert not re.search("[0-9a-f]{64}", engine_cli("top", container, "-eo", "pid,args"))
    (status,) = json.loads(shop.paddock("status", "--project", project, "--json").stdout)["stacks"]
    assert status["ready"] is True
    assert {each["target"] for each in status["services"]} == {"cu126"}
    assert all(each["packages"] for each in status["services"])

    down = shop.paddock("down", folder, "--project", project, "--volumes")
    assert down.returncode == 0, down.stderr
    assert ids_of(project) == []
    left = engine_cli("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={project}")
    assert left.strip() == ""


@pytest.mark.parametrize("folder", [Variant.OFFLINE], indirect=True)
def test_an_offline_image_that_is_not_here_is_to_be_pulled(folder: Path, shop, project: str) -> None:
    tried = shop.paddock("up", folder, "--project", project, UPSTREAM_PREFIX="nowhere.invalid/")
    assert tried.returncode == PREFLIGHT, tried.stderr
    assert "docker pull nowhere.invalid/paddleocr-" in tried.stderr
    assert "paddock build" not in tried.stderr
