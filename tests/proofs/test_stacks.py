"""What no stack may ask of a host: keys that we do not know, privileges, moving tags, paths that nobody
looked for.

Compose refuses what its specification does not have; the first tests see to it that it does. The list of keys
here is ours and narrower: a new one is a decision, and is entered here with it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from paddock import paths
from paddock.bundle.export.gather import stack_files
from paddock.errors import PreflightError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Accelerator, Stack
from paddock.render.renderer import Files, Renderer
from paddock.stack import preflight
from paddock.stack.configuration import Cards
from paddock.stack.folder import StackFolder

REGISTRY = load_registry(paths.templates())
STACKS = {stack.name: stack for stack in REGISTRY.all_stacks()}
UNHURRIED = 120  # seconds
IMAGES_FILES = ("images/own.yaml", "images/upstream.yaml")
FORBIDDEN = {
    "privileged",
    "cap_add",
    "network_mode",
    "pid",
    "ipc",
    "userns_mode",
    "runtime",
    "container_name",
    "build",
}
_IN_A_SERVICE = """
    extends extends.file extends.service init restart read_only cap_drop security_opt group_add depends_on depends_on.*
    depends_on.*.condition ports networks environment environment.* volumes volumes.type volumes.source volumes.target
    volumes.read_only volumes.bind volumes.bind.create_host_path devices deploy deploy.resources
    deploy.resources.reservations deploy.resources.reservations.devices deploy.resources.reservations.devices.driver
    deploy.resources.reservations.devices.device_ids deploy.resources.reservations.devices.count
    deploy.resources.reservations.devices.capabilities tmpfs shm_size
    mem_limit memswap_limit healthcheck healthcheck.test healthcheck.interval healthcheck.timeout healthcheck.retries
    healthcheck.start_period logging logging.driver logging.options logging.options.max-size logging.options.max-file
"""
_IN_IMAGES = """
    image pull_policy user working_dir labels labels.* entrypoint environment environment.* volumes volumes.type
    volumes.source volumes.target volumes.read_only volumes.bind volumes.bind.create_host_path tmpfs
"""
# Each key of images/own.yaml and images/upstream.yaml.
KNOWN_OF_IMAGES = {"services", "services.*", *(f"services.*.{key}" for key in _IN_IMAGES.split())}
# Each key of a rendered compose.yaml, with `*` for names that we give.
KNOWN = {
    *(
        "name",
        "services",
        "volumes",
        "networks",
        "services.*",
        "volumes.*",
        "networks.*",
        "networks.*.internal",
    ),
    *(
        "volumes.*.driver_opts",
        "volumes.*.driver_opts.type",
        "volumes.*.driver_opts.device",
        "volumes.*.driver_opts.o",
    ),
    *(f"services.*.{key}" for key in _IN_A_SERVICE.split()),
}
NAMED_BY_US = {"services", "volumes", "networks", "environment", "depends_on", "labels"}

every_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
needs_compose = pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0,
    reason="there is no docker compose here (it needs no engine for this)",
)


@pytest.fixture(scope="module")
def files() -> Files:
    return Renderer(paths.templates()).all(REGISTRY, also=STACKS.values())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Path:
    folder = tmp_path_factory.mktemp("stacks")
    for path, text in files.items():
        if path.parts[0] == "compose":
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    return folder


def document(files: Files, stack: Stack, name: str = "compose.yaml") -> dict[str, Any]:
    return dict(yaml.safe_load(files[PurePosixPath("compose") / stack.name / name]))


def keys(value: object, where: tuple[str, ...] = ()) -> Iterator[str]:
    """The dotted path of each key, with `*` for names that are ours."""
    if isinstance(value, dict):
        for key, below in value.items():
            if not where and key.startswith("x-"):
                continue
            ours = (
                bool(where)
                and where[-1] in NAMED_BY_US
                and not (where[0] == "services" and where[-1] == "volumes")
            )
            here = (*where, "*" if ours else str(key))
            yield ".".join(here)
            yield from keys(below, here)
    elif isinstance(value, list):
        for each in value:
            yield from keys(each, where)


# --- the Compose specification ------------------------------------------------------------------------------


@needs_compose
@pytest.mark.parametrize(
    "wrong",
    ["privilegd: true", "healthcheck: {tests: []}", "deploy: {resources: {reserve: {}}}", "ports: 8080"],
)
def test_compose_refuses_what_the_specification_does_not_have(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(f"services:\n  one:\n    image: a/b:1\n    {wrong}\n", "utf-8")
    done = subprocess.run(
        ["docker", "compose", "config", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=UNHURRIED,
    )
    assert done.returncode != 0


@every_stack
def test_only_known_keys_are_used(files: Files, stack: Stack) -> None:
    found = set(keys(document(files, stack)))
    assert len(found) > 30
    assert found <= KNOWN


@every_stack
@pytest.mark.parametrize("name", IMAGES_FILES)
def test_only_known_keys_are_used_of_images(files: Files, stack: Stack, name: str) -> None:
    found = set(keys(document(files, stack, name)))
    assert found
    assert found <= KNOWN_OF_IMAGES


def test_every_known_key_is_used_by_some_stack(files: Files) -> None:
    used = {key for stack in STACKS.values() for key in keys(document(files, stack))}
    assert used >= KNOWN
    of_images = {
        key for each in STACKS.values() for name in IMAGES_FILES for key in keys(document(files, each, name))
    }
    assert of_images >= KNOWN_OF_IMAGES


# --- what no stack may ask for ------------------------------------------------------------------------------


@every_stack
def test_no_privileges(files: Files, stack: Stack) -> None:
    for name, service in document(files, stack)["services"].items():
        assert not FORBIDDEN & set(service), name
        assert service["cap_drop"] == ["ALL"], name
        for volume in service["volumes"]:
            assert "docker.sock" not in str(volume), name
    for part in IMAGES_FILES:
        assert not FORBIDDEN & {
            key for each in document(files, stack, part)["services"].values() for key in each
        }


def test_nothing_rendered_says_latest(files: Files) -> None:
    for path, text in files.items():
        assert not re.search(r":latest\b|[\"']latest[\"']", text), path
        for line in text.splitlines():
            if path.name == "Dockerfile" and re.match(r"FROM \S*/\S+|FROM \$\{BASE_REGISTRY\}", line):
                assert re.search(r":[\w.-]+( AS \S+)?$", line), f"{path}: {line} has no tag"
        assert "privileged: true" not in text, path


# --- what a stack says of the host --------------------------------------------------------------------------


@needs_compose
@pytest.mark.parametrize("stack", list(REGISTRY.stacks()), ids=lambda stack: stack.name)
def test_the_preflight_is_told_which_cards_and_driver_a_stack_needs(stack: Stack, workspace: Path) -> None:
    configuration = StackFolder(path=workspace / "compose" / stack.name, called=stack.name).read()
    needs, target = configuration.host, stack.target
    if target.accelerator is Accelerator.NONE:
        assert needs is None
        return
    assert needs is not None and target.driver is not None
    assert (needs.accelerator, needs.driver) == (target.accelerator, target.driver.minimum)
    assert needs.driver_reason == target.driver.reason
    nvidia = target.accelerator is Accelerator.NVIDIA
    assert bool(needs.compute_capability) is nvidia
    assert bool(needs.chip) is not nvidia
    assert needs.card_memory == str(target.card_memory or "")
    for part in (
        *(target.compute_capability or "").split(","),
        *(stack.vlm.compute_capability or "").split(","),
    ):
        assert part in needs.compute_capability
    (vlm,) = (service for service in configuration.services if service.name == "vlm")
    wanted = Cards(named=("0",)) if stack.vlm.cards == 1 else Cards(count=stack.vlm.cards)
    assert vlm.cards == (wanted if nvidia else Cards())


# --- what is carried ----------------------------------------------------------------------------------------


@needs_compose
@pytest.mark.parametrize("name", [stack.name for stack in REGISTRY.stacks()])
def test_a_bundle_carries_every_file_of_a_stack(name: str, files: Files, workspace: Path) -> None:
    folder = StackFolder(path=workspace / "compose" / name, called=name)
    carried = {each.path: each.data.decode() for each in stack_files(folder, folder.read())}
    ours = {path: text for path, text in files.items() if path.parts[:2] == ("compose", name)}
    rendered = {path.relative_to(f"compose/{name}"): text for path, text in ours.items()}
    rendered[PurePosixPath(".env.example")] = rendered.pop(PurePosixPath(".env"))
    assert carried == {f"stack/{path}": text for path, text in rendered.items()}


# --- what of the host is mounted ----------------------------------------------------------------------------


def host_paths(folder: Path) -> set[str]:
    """Every file, folder and device of the host in what Compose makes of a stack."""
    done = subprocess.run(
        ["docker", "compose", "config", "--format", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=UNHURRIED,
    )
    found = set()
    for service in json.loads(done.stdout)["services"].values():
        found |= {volume["source"] for volume in service.get("volumes", ()) if volume["type"] == "bind"}
        found |= {device["source"] for device in service.get("devices", ())}
    return found


@needs_compose
@pytest.mark.parametrize("name", [stack.name for stack in REGISTRY.stacks()])
def test_the_preflight_knows_every_path_of_the_host(name: str, workspace: Path) -> None:
    folder = StackFolder(path=workspace / "compose" / name, called=name)
    configuration = folder.read()
    known = {str(bind.source) for service in configuration.services for bind in service.binds}
    known |= {str(node) for service in configuration.services for node in service.devices}
    assert known == host_paths(folder.path)
    absent = [path for path in sorted(known) if not Path(path).exists()]
    if absent:
        with pytest.raises(PreflightError) as refusal:
            preflight.require_files(configuration)
            preflight.require_devices(configuration)
        assert any(path in refusal.value.message for path in absent)
