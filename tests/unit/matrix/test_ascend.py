"""The Ascend targets: what is refused with which advice, and what a container gets of a host."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from paddock import paths
from paddock.errors import ConfigurationError, DataError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Accelerator, Platform, Stack
from paddock.matrix.registry import Registry
from paddock.render.renderer import Files, Renderer

TEMPLATES = paths.templates()
OURS = load_registry(TEMPLATES)
STACKS = [stack for stack in OURS.all_stacks() if stack.target.accelerator is Accelerator.ASCEND]
LAYOUT_ON_CPU = ["ascend-310p", "ascend-910b-layout-cpu"]

every_stack = pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)


@pytest.fixture(scope="module")
def files() -> Files:
    return Renderer(TEMPLATES).all(OURS, also=STACKS)


def services(files: Files, stack: Stack) -> dict[str, Any]:
    return dict(yaml.safe_load(files[PurePosixPath("compose") / stack.name / "compose.yaml"])["services"])


def load_changed(folder: Path, *changes: tuple[str, str]) -> Registry:
    """Our data with texts of ascend-310p.yaml replaced."""
    for part in ("targets", "backends", "models"):
        shutil.copytree(TEMPLATES / part, folder / part)
    path = folder / "targets" / "ascend-310p.yaml"
    text = path.read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return load_registry(folder)


GRAPHS = """compilation-config: '{"cudagraph_mode": "FULL_DECODE_ONLY"}'"""


def test_there_is_something_to_check() -> None:
    assert {stack.target.name for stack in STACKS} == {*LAYOUT_ON_CPU, "ascend-910b"}
    assert len(STACKS) == 18  # three targets, three models, two variants


# --- refused, with what to do instead -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "auto", "float32"])
def test_the_310p_computes_in_float16_only(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(DataError, match=rf"settings\.dtype: found {dtype}, expected float16") as caught:
        load_changed(tmp_path, ("dtype: float16", f"dtype: {dtype}"))
    assert caught.value.hint == "write dtype: float16 in templates/targets/ascend-310p.yaml"


def test_an_image_that_crashes_with_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vllm-ascend issue 11450"):
        load_changed(tmp_path, ("vllm-ascend:v0.23.0-310p\n", "vllm-ascend:v0.21.0rc1-310p\n"))


@pytest.mark.parametrize("cann", ["8.3.RC2", "8.5.1"])
def test_graph_mode_on_the_310p_needs_a_newer_cann(tmp_path: Path, cann: str) -> None:
    with pytest.raises(
        DataError, match=rf"settings\.compilation-config: found cann {cann} .*>=9\.0\.0"
    ) as caught:
        load_changed(tmp_path, ('cann: "9.1.0"', f'cann: "{cann}"'))
    assert "enforce-eager: true" in caught.value.hint


def test_with_an_older_cann_the_310p_runs_eagerly(tmp_path: Path) -> None:
    changed = load_changed(tmp_path, ('cann: "9.1.0"', 'cann: "8.5.1"'), (GRAPHS, "enforce-eager: true"))
    assert changed.stack(target="ascend-310p").vlm.settings["enforce-eager"] is True


def test_a_beta_of_a_new_enough_cann_is_new_enough(tmp_path: Path) -> None:
    load_changed(tmp_path, ('cann: "9.1.0"', 'cann: "9.1.0-beta.1"'))


@pytest.mark.parametrize("target", ["ascend-310p", "ascend-910b", "ascend-910b-layout-cpu"])
@pytest.mark.parametrize("backend", sorted(set(OURS.backends) - {"vllm-ascend"}))
def test_other_backends_are_refused(target: str, backend: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OURS.stack(target=target, backend=backend)
    assert caught.value.hint == "choose one of vllm-ascend"


# --- images -------------------------------------------------------------------------------------------------


@every_stack
def test_no_user_is_added_and_no_entrypoint_is_lost(files: Files, stack: Stack) -> None:
    """The 310P's image has the uid 1000 already, and its entrypoint prepares the card."""
    dockerfile = files[PurePosixPath("images") / stack.target.name / "vllm-ascend" / "Dockerfile"]
    instructions = {line.split()[0] for line in dockerfile.splitlines() if line and line[0].isalpha()}
    assert {"FROM", "CMD", "USER", "HEALTHCHECK"} <= instructions
    assert "ENTRYPOINT" not in instructions
    assert "useradd" not in dockerfile and "adduser" not in dockerfile
    for name, service in services(files, stack).items():
        assert "entrypoint" not in service, name
        assert "command" not in service, name


def test_each_architecture_has_its_own_base(files: Files) -> None:
    api = OURS.target("ascend-910b").api
    assert api is not None
    bases = {platform: api.image.base.image_on(platform) for platform in Platform}
    assert "x86_64" in bases[Platform.AMD64] and "aarch64" in bases[Platform.ARM64]
    dockerfile = files[PurePosixPath("images/ascend-910b/api/Dockerfile")]
    assert f"FROM ${{BASE_REGISTRY}}{bases[Platform.AMD64]} AS base-amd64\n" in dockerfile
    assert f"FROM ${{BASE_REGISTRY}}{bases[Platform.ARM64]} AS base-arm64\n" in dockerfile
    assert "\nFROM base-${TARGETARCH} AS os\n" in dockerfile
    # A slip of upstream's Dockerfile; CANN's own script knows the machine.
    assert "aarch_64" not in dockerfile


@pytest.mark.parametrize("target", LAYOUT_ON_CPU)
def test_layout_on_the_cpu_is_the_recipe_of_the_target_cpu(target: str) -> None:
    mine, cpu = OURS.target(target).api, OURS.target("cpu").api
    assert mine is not None and cpu is not None
    assert (mine.device, mine.devices.nodes) == ("cpu", ())
    assert mine.image == cpu.image
    for platform in ("amd64", "arm64"):
        locks = [TEMPLATES / "locks" / f"{name}-api.{platform}.txt" for name in (target, "cpu")]
        assert locks[0].read_bytes() == locks[1].read_bytes()


def test_a_program_gets_cann_s_environment(tmp_path: Path) -> None:
    """Without CANN, as here, the script says so and starts the program all the same."""
    script = TEMPLATES / "image/shared/with-cann.sh"
    ran = subprocess.run(
        ["bash", str(script), "sh", "-c", 'echo "$LD_LIBRARY_PATH" "$@"', "name", "two words"],
        env={"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": "/before"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    libraries, _, rest = ran.stdout.strip().partition(" ")
    assert libraries.split(":")[0] == "/usr/local/Ascend/driver/lib64"
    assert "/before" in libraries.split(":")
    assert rest == "two words"


# --- what a container gets of the host ----------------------------------------------------------------------


@every_stack
def test_a_container_gets_one_card_and_counts_it_from_zero(files: Files, stack: Stack) -> None:
    found = services(files, stack)
    cards = {}
    for name, service in found.items():
        nodes = service.get("devices", [])
        cards[name] = [node for node in nodes if node.startswith("/dev/davinci$")]
        assert len(cards[name]) == (1 if nodes else 0), name
        assert ("ASCEND_RT_VISIBLE_DEVICES" in service["environment"]) == bool(nodes), name
        if nodes:
            assert service["environment"]["ASCEND_RT_VISIBLE_DEVICES"] == "0"
            assert set(nodes) - set(cards[name]) == {
                "/dev/davinci_manager",
                "/dev/devmm_svm",
                "/dev/hisi_hdc",
            }
            assert service["group_add"] == ["${NPU_GROUP:-1000}"]
    assert cards["vlm"] == ["/dev/davinci${NPU_DEVICE:-0}"]
    assert cards["api"] == (
        ["/dev/davinci${API_NPU_DEVICE:-1}"] if stack.target.name == "ascend-910b" else []
    )


@every_stack
def test_the_driver_is_mounted_read_only_and_never_made_by_the_engine(files: Files, stack: Stack) -> None:
    for name, service in services(files, stack).items():
        mounts = {volume["target"]: volume for volume in service["volumes"] if isinstance(volume, dict)}
        for target in ("/models", "/etc/paddock/api-keys"):
            mounts.pop(target, None)
        if "devices" not in service:
            assert not mounts, name
            continue
        assert set(mounts) == {
            "/usr/local/Ascend/driver",
            "/usr/local/dcmi",
            "/usr/local/bin/npu-smi",
            "/etc/ascend_install.info",
        }
        assert mounts["/usr/local/bin/npu-smi"]["source"] == "${NPU_SMI:-/usr/local/bin/npu-smi}"


@every_stack
def test_the_310p_is_asked_for_nothing_that_it_lacks(files: Files, stack: Stack) -> None:
    server = yaml.safe_load(files[PurePosixPath("compose") / stack.name / "vlm.yaml"])
    assert server["max-model-len"] == stack.model.max_context
    assert "trust-request-mm-kwargs" not in server, "an option of vLLM 0.31; the image has an older one"
    if stack.target.name == "ascend-310p":
        assert server["dtype"] == "float16"
        assert "max-num-batched-tokens" not in server
        assert "CPU_AFFINITY_CONF" not in stack.vlm.environment
