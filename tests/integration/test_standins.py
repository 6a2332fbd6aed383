"""Every Dockerfile of every target is really built, on stand-ins for what cannot be had here, and started.

Stand-ins: the vendors' base images (standins/Dockerfile), and the packages that compute (empty wheels of the
pinned versions, handed in as a wheelhouse). Everything else is real: our Dockerfiles word for word, apt, uv,
users, modes, labels, layers, start scripts, keys and health checks. What they do not show: that the vendors'
images hold what their documents say, and that anything computes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

import programs
from bundle_folders import manifest_of, size_of_parts
from compose_projects import inspected
from paddock import paths
from paddock.bundle.format.manifest import Carried
from paddock.matrix import locks
from paddock.matrix.images import StackImage, stack_images
from paddock.matrix.load import load_registry
from paddock.matrix.records import Base, Image, Platform, Stack, Variant
from paddock.render.renderer import Renderer
from programs import container_logs, docker, succeeded
from site_engine import site_engine

STANDINS = Path(__file__).parent / "standins"
REGISTRY = load_registry(paths.templates())
RENDERER = Renderer(paths.templates())
# Stacks without an accelerator are built and run for real elsewhere (test_build.py and the demo).
STACKS = {stack.name: stack for stack in REGISTRY.stacks() if stack.target.accelerator != "none"}
PLATFORM = {"x86_64": Platform.AMD64, "aarch64": Platform.ARM64}[os.uname().machine]
LIMIT = 1200.0  # seconds for a build on a busy machine
HEALTHY_WITHIN = 120  # seconds

# Part of a vendor image's name -> target in standins/Dockerfile.
BASES = {"vllm-ascend": "vllm-ascend", "fastdeploy": "fastdeploy", "paddle-npu": "paddle-npu"}

SERVER = (STANDINS / "server.py").read_text("utf-8")
SGLANG = """
from standin_server import serve
def prepare_server_args(arguments):
    return type("Arguments", (), {"api_key": "", "trust_remote_code": False})()
def run_server(arguments):
    serve(arguments.api_key)
def kill_process_tree(pid, include_parent):
    pass
"""
VERSIONED = '__version__ = "stand-in"\n'
# What a Dockerfile or a start script of ours asks of the packages that compute: path -> content.
PACKAGES: dict[str, dict[str, str]] = {
    "vllm": {"standin_server.py": SERVER, "standin_vllm.py": (STANDINS / "vllm.py").read_text("utf-8")},
    "sglang": {
        "standin_server.py": SERVER,
        "sglang/__init__.py": VERSIONED,
        "sglang/launch_server.py": SGLANG,
        "sglang/srt/server_args.py": SGLANG,
        "sglang/srt/utils.py": SGLANG,
    },
    "torch": {"torch/__init__.py": VERSIONED},
    "paddlepaddle": {"paddle/__init__.py": VERSIONED},
    "paddlepaddle-gpu": {"paddle/__init__.py": VERSIONED},
    "paddle-custom-npu": {"paddle_custom_device/__init__.py": VERSIONED},
    "paddlex": {"paddlex/__init__.py": VERSIONED},
    "opencv-contrib-python": {"cv2/__init__.py": VERSIONED},
}
REAL = ("pyyaml",)  # small, and needed to come as far as the key
COMMANDS = {"vllm": "[console_scripts]\nvllm = standin_vllm:main\n"}


# --- stand-ins ----------------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, version: str) -> None:
    """An empty wheel of that version; the local part of it goes before the one on PyPI."""
    escaped, full = name.replace("-", "_"), f"{version}+standin"
    info = f"{escaped}-{full}.dist-info"
    files = {
        **PACKAGES[name],
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {full}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: paddock\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if name in COMMANDS:
        files[f"{info}/entry_points.txt"] = COMMANDS[name]
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{escaped}-{full}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


def cut(requirements: Path, wheels: Path) -> None:
    """Leave the packages of a list for which there are stand-ins, and make those."""
    packages = locks.read(requirements)
    stand_ins = [package for package in packages if package.name in PACKAGES]
    assert stand_ins, f"{requirements}: holds nothing that has a stand-in"
    for package in stand_ins:
        wheel(wheels, package.name, package.version.partition("+")[0])
    real = [package for package in packages if package.name in REAL]
    for package in real:  # the list has the hash for the vendor's Python, which a stand-in's need not be
        wanted = f"{package.name}=={package.version}"
        succeeded(
            programs.run(sys.executable, "-m", "pip", "download", "--no-deps", "--dest", wheels, wanted)
        )
    kept = [*stand_ins, *real]
    requirements.write_text("".join(f"{package.line}\n" for package in kept), "utf-8")


@pytest.fixture(scope="module")
def prefix() -> Iterator[str]:
    """Names for the images of this module; removed after it."""
    name = f"paddock-standin-{os.getpid()}/"
    yield name
    made = docker("image", "ls", "--quiet", "--filter", f"reference={name}*").split()
    if made:
        docker("image", "rm", "--force", *sorted(set(made)))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Freshly rendered files with cut lists of packages, wheels for those, and folders named like weights."""
    folder = tmp_path_factory.mktemp("standins")
    (folder / "wheels").mkdir()
    for path, text in RENDERER.all(REGISTRY).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    for stack in STACKS.values():
        for image in stack_images(stack):
            for requirements in (folder / image.context).glob("requirements.*.txt"):
                cut(requirements, folder / "wheels")
            for weights in (*image.weights, *image.further_weights):
                (folder / "models" / weights.name).mkdir(parents=True, exist_ok=True)
                (folder / "models" / weights.name / "config.json").write_text("{}\n", "utf-8")
        for stand_in in {image.stand_in for image in stack_images(stack)} - {""}:
            name, _, version = stand_in.partition("==")
            wheel(folder / "wheels", name, version)
    return folder


@pytest.fixture(scope="module")
def stand_in_bases(workspace: Path, prefix: str) -> dict[str, str]:
    """Vendor image -> the image that stands in for it, for every base that Debian does not make."""
    context = workspace / "standin-context"
    shutil.copytree(STANDINS, context)
    shutil.copy(workspace / "images/cpu/api/install-os.sh", context)
    made: dict[str, str] = {}
    bases = {image.base for stack in STACKS.values() for image in recipes(stack)}
    for base in (base for base in bases if not base.debootstrap):
        reference = base.image_on(PLATFORM)
        (target,) = [name for part, name in BASES.items() if part in reference]
        tag = f"{prefix}base-{target}-{abs(hash(base)) % 10**6}:1"
        accounts = " ".join(f"{name}:{uid}" for name, uid in base.accounts.items())
        options = (f"--target={target}", f"--build-arg=ACCOUNTS={accounts}", f"--tag={tag}")
        docker("buildx", "build", "--load", "--quiet", *options, context, limit=LIMIT)
        made |= dict.fromkeys((base.image, *base.platform_images.values()), tag)
    return made


def recipes(stack: Stack) -> list[Image]:
    """What its images are built from."""
    return [part.image for part in stack.parts]


# --- building -----------------------------------------------------------------------------------------------


def build(stack: Stack, workspace: Path, bases: Mapping[str, str], prefix: str) -> None:
    """`paddock build` as a user would, with --base for what stands in."""
    words = [stack.target.name, "--backend", stack.backend.name, "--model", stack.model.name]
    words += ["--offline"] if stack.variant is Variant.OFFLINE else []
    words += ["--stand-in"] if any(image.stand_in for image in stack_images(stack)) else []
    words += [f"--base={reference}={image}" for reference, image in bases.items()]
    environment = {
        "PADDOCK_ROOT": str(workspace),
        "IMAGE_PREFIX": prefix,
        "MODELS_DIR": str(workspace / "models"),
        "WHEELHOUSE": str(workspace / "wheels"),
        "UNLOCKED_WHEELS": "1",  # empty wheels, which are not those of the lists
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    paddock("build", *words, **environment)


@pytest.fixture(scope="module", params=STACKS)
def built(
    request: pytest.FixtureRequest, workspace: Path, stand_in_bases: Mapping[str, str], prefix: str
) -> tuple[Stack, str]:
    stack = STACKS[request.param]
    build(stack, workspace, stand_in_bases, prefix)
    return stack, prefix


# An offline image is the online one and layers of weights on it: its programs are started there.
started = pytest.mark.parametrize(
    "built", [name for name, stack in STACKS.items() if stack.variant is Variant.ONLINE], indirect=True
)


def test_every_dockerfile_builds_and_says_what_it_is(built: tuple[Stack, str]) -> None:
    stack, prefix = built
    for image in stack_images(stack):
        state = inspected(image.reference(prefix=prefix))
        config = state["Config"]
        assert config["User"] == "10001:0"
        assert config["Healthcheck"]["Test"][0] == "CMD"
        assert f"{state['Os']}/{state['Architecture']}" == PLATFORM
        labels = config["Labels"]
        assert labels["io.paddock.target"] == stack.target.name
        assert labels["io.paddock.variant"] == stack.variant
        assert labels["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
        if image.stand_in:
            assert labels["io.paddock.stand-in"] == image.stand_in, "a stand-in is not said aloud"
        if stack.variant is Variant.OFFLINE:
            holds_weights(image, image.reference(prefix=prefix), state["RootFS"]["Layers"])


def holds_weights(image: StackImage, reference: str, layers: list[str]) -> None:
    """Each set is there, readable, and in a layer at the end."""
    expected = {weights.name for weights in (*image.weights, *image.further_weights)}
    listed = docker("run", "--rm", "--network=none", "--entrypoint=ls", reference, "/models")
    assert set(listed.split()) == expected
    assert len(layers) > len(expected)


@started
def test_every_server_starts_as_it_should(built: tuple[Stack, str], workspace: Path, tmp_path: Path) -> None:
    """The image's command, locked down as in the stack: its options, user, key and health check."""
    stack, prefix = built
    (image,) = (image for image in stack_images(stack) if image.role == "vlm")
    configuration = stack.backend.configuration
    text = RENDERER.stack(stack)[PurePosixPath("compose") / stack.name / configuration]
    (tmp_path / configuration).write_text(text, "utf-8")
    options = (
        *("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *("--tmpfs=/tmp:exec,mode=1777", "--tmpfs=/var/lib/paddock:mode=2770,uid=10001,gid=0"),
        *("--health-interval=1s", "--health-start-period=1s"),
        f"--env=PADDOCK_SERVED_NAME={stack.model.served_name}",
        f"--volume={tmp_path / configuration}:/etc/paddock/{configuration}:ro",
    )
    container = docker("run", "--detach", *options, image.reference(prefix=prefix)).strip()
    try:
        assert health(container) == "healthy", container_logs(container)[-3000:]
        logs = container_logs(container)
        said = json.loads(next(line for line in logs.splitlines() if line.startswith("{")))
        top = docker("top", container, "-eo", "pid,uid,args")
    finally:
        docker("rm", "--force", container)
    assert (said["uid"], said["gid"]) == (10001, 0)
    assert said["options"]["served-model-name"] == stack.model.served_name
    assert said["options"]["port"] == str(stack.backend.port)
    for name, value in stack.settings.items():
        is_flag = value is True and configuration == "vlm.conf"
        assert said["options"][name] == ("" if is_flag else as_yaml(value)), name
    assert re.search(r"10001\s.*(vllm serve|serve\.py|api_server)", top), top
    assert not re.search(r"[0-9a-f]{64}", top), "the key is in the list of processes"
    if not stack.vlm.image.base.debootstrap:
        kept = "ENTRYPOINT []" not in (workspace / image.context / "Dockerfile").read_text("utf-8")
        assert kept == ("the vendor's entrypoint ran" in logs)
    if stack.target.accelerator == "ascend":
        assert said["environment"]["ASCEND_HOME_PATH"].startswith("/usr/local/Ascend/")


def as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def health(container: str) -> str:
    """The state of health once it is decided."""
    end = time.monotonic() + HEALTHY_WITHIN
    while time.monotonic() < end:
        state = inspected(container)["State"]
        if state["Health"]["Status"] != "starting" or not state["Running"]:
            break
        time.sleep(0.5)
    return str(state["Health"]["Status"] if state["Running"] else f"ended with {state['ExitCode']}")


@started
def test_every_pipeline_api_starts_as_it_should(built: tuple[Stack, str], tmp_path: Path) -> None:
    """It waits for the key of the VLM server, under a number that no user of the image has."""
    stack, prefix = built
    apis = [image for image in stack_images(stack) if image.role == "api"]
    if stack.model.pipeline is None:
        assert not apis, "a model that is served alone has no pipeline API"
        return
    (image,) = apis
    pipeline = RENDERER.stack(stack)[PurePosixPath("compose") / stack.name / "pipeline.yaml"]
    (tmp_path / "pipeline.yaml").write_text(pipeline, "utf-8")
    options = (
        *("--network=none", "--read-only", "--cap-drop=ALL", "--user=4242:0"),
        *("--tmpfs=/tmp:mode=1777", "--tmpfs=/var/lib/paddock:mode=2770,uid=10001,gid=0"),
        f"--volume={tmp_path / 'pipeline.yaml'}:/etc/paddock/pipeline.yaml:ro",
    )
    container = docker("run", "--detach", *options, image.reference(prefix=prefix)).strip()
    try:
        time.sleep(1)
        assert inspected(container)["State"]["Running"], container_logs(container)
        top = docker("top", container, "-eo", "pid,uid,args")
    finally:
        docker("rm", "--force", container)
    assert re.search(r"4242\s+\S*python\S* /opt/paddock/serve\.py", top), top


# --- carried ------------------------------------------------------------------------------------------------

FROM, TO = STACKS["cu126"], STACKS["ascend-910b"]


@pytest.fixture(scope="module")
def carried(
    workspace: Path, stand_in_bases: Mapping[str, str], prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A bundle of one target, and a delta on it that leads to another."""
    folder = tmp_path_factory.mktemp("carried")
    before, delta = folder / "before", folder / "delta"
    for stack, path, more in ((FROM, before, ()), (TO, delta, ("--base", before))):
        build(stack, workspace, stand_in_bases, prefix)
        export = (
            "export",
            stack.target.name,
            "--backend",
            stack.backend.name,
            "--no-tool",
            "-o",
            path,
            *more,
        )
        paddock(*export, PADDOCK_ROOT=str(workspace), IMAGE_PREFIX=prefix)
        print(f"{stack.name}: {size_of_parts(path):,} bytes")
    return before, delta


@pytest.mark.parametrize("store", ["classic", "containerd"])
def test_a_delta_leads_from_one_target_to_another(
    store: str, carried: tuple[Path, Path], tmp_path: Path
) -> None:
    """What they share stays where it is; layers on another base are made from those of the target before."""
    before, delta = carried
    assert {layer.carried for layer in manifest_of(delta).layers} >= {Carried.BASE, Carried.RECIPE}
    assert size_of_parts(delta) < size_of_parts(before) / 10
    with site_engine(store, in_memory=True, size=6 << 30) as engine:
        for bundle in (before, delta):
            command = ("import", bundle, "--any-host", "--unsigned")
            paddock(*command, PADDOCK_STATE=str(tmp_path), **engine.environment())
            for image in manifest_of(bundle).images:
                assert tuple(engine.layers(image.reference)) == image.layers
                engine.docker("rm", engine.docker("create", image.reference).strip())


def paddock(*arguments: str | Path, **environment: str) -> None:
    succeeded(programs.paddock(*arguments, limit=LIMIT, environment=environment))


# --- the checks can fail ------------------------------------------------------------------------------------


def test_every_base_image_has_a_stand_in() -> None:
    bases: set[Base] = {image.base for stack in STACKS.values() for image in recipes(stack)}
    vendors = [base.image_on(platform) for base in bases if not base.debootstrap for platform in Platform]
    assert STACKS
    for reference in vendors:
        assert len([part for part in BASES if part in reference]) == 1, reference
