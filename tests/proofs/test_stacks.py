"""Which keys our compose files use, and that the preflight knows all that a stack asks of its host.

Compose refuses what its specification does not have; the first tests see to it that it does. The list of keys
here is ours and narrower: a new one is a decision, and is entered here with it. What every stack promises is
checked in tests/generated/test_render.py.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from paddock.bundle.export.gather import stack_files
from paddock.errors import PreflightError
from paddock.matrix.records import NvidiaCards, Stack
from paddock.render.renderer import UPSTREAM_PROGRAMS, Files
from paddock.stack import preflight
from paddock.stack.configuration import AscendNeeds, Cards, Configuration, NvidiaNeeds
from paddock.stack.folder import StackFolder
from programs import run, succeeded
from rendered import (
    COMMITTED,
    ON_UPSTREAM,
    STACKS,
    UNHURRIED,
    document,
    every_stack,
    everything,
    needs_compose,
)

IMAGES_FILES = ("images/own.yaml", "images/upstream.yaml")
_IN_A_SERVICE = """
    extends extends.file extends.service init restart read_only cap_drop security_opt group_add depends_on
    depends_on.* depends_on.*.condition ports networks environment environment.* volumes volumes.type
    volumes.source volumes.target volumes.read_only volumes.bind volumes.bind.create_host_path devices
    deploy deploy.resources deploy.resources.reservations deploy.resources.reservations.devices
    deploy.resources.reservations.devices.driver deploy.resources.reservations.devices.device_ids
    deploy.resources.reservations.devices.count deploy.resources.reservations.devices.capabilities tmpfs
    shm_size mem_limit memswap_limit pids_limit cpus ulimits ulimits.nofile ulimits.core dns
    healthcheck healthcheck.test healthcheck.interval healthcheck.timeout
    healthcheck.retries healthcheck.start_period logging logging.driver logging.options
    logging.options.max-size logging.options.max-file
"""
_IN_IMAGES = """
    image pull_policy user working_dir labels labels.* entrypoint environment environment.* volumes
    volumes.type volumes.source volumes.target volumes.read_only volumes.bind
    volumes.bind.create_host_path tmpfs
"""
_OF_A_BRIDGE = ("enable_ip_masquerade", "inhibit_ipv4")
# Each key of images/own.yaml and images/upstream.yaml.
KNOWN_OF_IMAGES = {"services", "services.*", *(f"services.*.{key}" for key in _IN_IMAGES.split())}
# Each key of a rendered compose.yaml, with `*` for names that we give.
KNOWN = {
    *("name", "services", "services.*", "networks", "networks.*", "networks.*.internal"),
    "networks.*.driver_opts",
    *(f"networks.*.driver_opts.com.docker.network.bridge.{key}" for key in _OF_A_BRIDGE),
    *("volumes", "volumes.*", "volumes.*.driver_opts"),
    *(f"volumes.*.driver_opts.{key}" for key in ("type", "device", "o")),
    *(f"services.*.{key}" for key in _IN_A_SERVICE.split()),
}
NAMED_BY_US = {"services", "volumes", "networks", "environment", "depends_on", "labels"}


@pytest.fixture(scope="module")
def files() -> Files:
    return everything()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Path:
    folder = tmp_path_factory.mktemp("stacks")
    for path, text in files.items():
        if path.parts[0] == "compose":
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    return folder


def keys(value: object, where: tuple[str, ...] = ()) -> Iterator[str]:
    """The dotted path of each key, with `*` for names that are ours."""
    if isinstance(value, dict):
        for key, below in value.items():
            if not where and key.startswith("x-"):
                continue
            volumes_of_a_service = where[:1] == ("services",) and where[-1:] == ("volumes",)
            is_a_name = bool(where) and where[-1] in NAMED_BY_US and not volumes_of_a_service
            here = (*where, "*" if is_a_name else str(key))
            yield ".".join(here)
            yield from keys(below, here)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, where)


# --- the Compose specification ------------------------------------------------------------------------------


@needs_compose
@pytest.mark.parametrize(
    "wrong",
    ["privilegd: true", "healthcheck: {tests: []}", "deploy: {resources: {reserve: {}}}", "ports: 8080"],
)
def test_compose_refuses_what_the_specification_does_not_have(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(f"services:\n  one:\n    image: a/b:1\n    {wrong}\n", "utf-8")
    done = run("docker", "compose", "config", "--quiet", cwd=tmp_path, limit=UNHURRIED)
    assert done.returncode != 0


@every_stack
def test_only_known_keys_are_used(stack: Stack) -> None:
    used = set(keys(document(stack)))
    assert len(used) > 30
    assert used <= KNOWN


@every_stack
@pytest.mark.parametrize("name", IMAGES_FILES)
def test_only_known_keys_are_used_of_images(stack: Stack, name: str) -> None:
    used = set(keys(document(stack, name)))
    assert used
    assert used <= KNOWN_OF_IMAGES


def test_every_known_key_is_used_by_some_stack() -> None:
    used = {key for stack in STACKS.values() for key in keys(document(stack))}
    assert used >= KNOWN
    parts = [document(stack, name) for stack in STACKS.values() for name in IMAGES_FILES]
    assert {key for part in parts for key in keys(part)} >= KNOWN_OF_IMAGES


# --- what a stack says of the host --------------------------------------------------------------------------


@functools.cache
def configuration_of(path: Path) -> Configuration:
    """What the folder of a stack says, read once."""
    return StackFolder(path=path, name=path.name).read()


@needs_compose
@pytest.mark.parametrize("stack", COMMITTED.values(), ids=COMMITTED)
def test_the_preflight_is_told_which_cards_and_driver_a_stack_needs(stack: Stack, workspace: Path) -> None:
    configuration = configuration_of(workspace / "compose" / stack.name)
    needs, cards = configuration.host, stack.target.cards
    if cards is None:
        assert needs is None
        return
    assert needs is not None
    assert (needs.driver, needs.driver_reason) == (cards.driver.minimum, cards.driver.reason)
    nvidia = isinstance(cards, NvidiaCards)
    if isinstance(cards, NvidiaCards):
        assert isinstance(needs, NvidiaNeeds)
        assert needs.card_memory == cards.memory
        assert needs.compute_capability
        for limit in (cards.compute_capability, stack.vlm.compute_capability or ""):
            for condition in limit.split(","):
                assert condition in needs.compute_capability
    else:
        assert isinstance(needs, AscendNeeds)
        assert needs.chip == cards.chip
    (vlm,) = (service for service in configuration.services if service.name == "vlm")
    wanted = Cards(named=("0",)) if stack.vlm.cards == 1 else Cards(count=stack.vlm.cards)
    assert vlm.cards == (wanted if nvidia else Cards())


# --- what is carried ----------------------------------------------------------------------------------------


@needs_compose
@pytest.mark.parametrize("name", COMMITTED)
def test_a_bundle_carries_every_file_of_a_stack(name: str, files: Files, workspace: Path) -> None:
    folder = StackFolder(path=workspace / "compose" / name, name=name)
    carried = {file.path: file.data.decode() for file in stack_files(folder, configuration_of(folder.path))}
    own = PurePosixPath("compose") / name
    expected = {f"stack/{path.relative_to(own)}": text for path, text in files.items() if own in path.parents}
    settings = expected.pop("stack/.env")
    expected.pop("stack/site.yaml", None)  # `paddock export --site` carries it, with its images
    if "UPSTREAM_PROGRAMS=" in settings:  # what all stacks share is carried inside this one
        shared = {path.name: text for path, text in files.items() if path.parent == UPSTREAM_PROGRAMS}
        expected |= {f"stack/images/upstream/{program}": text for program, text in shared.items()}
        settings = re.sub(
            r"^UPSTREAM_PROGRAMS=.*$", "UPSTREAM_PROGRAMS=./upstream", settings, flags=re.MULTILINE
        )
    assert carried == {**expected, "stack/.env.example": settings}


def programs_of(folder: Path, service: str) -> str:
    """Where Compose finds the programs that an image of upstream's is started with."""
    printed = succeeded(
        run("docker", "compose", "config", "--format", "json", cwd=folder, environment={"IMAGES": "upstream"})
    )
    volumes = json.loads(printed)["services"][service]["volumes"]
    return next(str(volume["source"]) for volume in volumes if volume["target"] == "/opt/paddock")


@needs_compose
@pytest.mark.parametrize("name", sorted(name for name in COMMITTED if name in ON_UPSTREAM))
def test_the_programs_for_upstreams_images_are_found_in_a_checkout_and_in_a_bundle(
    name: str, workspace: Path, tmp_path: Path
) -> None:
    folder = StackFolder(path=workspace / "compose" / name, name=name)
    assert programs_of(folder.path, "vlm") == str(workspace / UPSTREAM_PROGRAMS)
    for file in stack_files(folder, configuration_of(folder.path)):
        path = tmp_path / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    (tmp_path / "stack/.env.example").rename(tmp_path / "stack/.env")
    found = Path(programs_of(tmp_path / "stack", "vlm"))
    assert found == tmp_path / "stack/images/upstream"
    assert (found / "start.sh").read_bytes() == (workspace / UPSTREAM_PROGRAMS / "start.sh").read_bytes()


@needs_compose
def test_a_folder_that_was_copied_alone_is_told_what_to_copy_too(workspace: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(workspace / "compose/cu126", tmp_path / "alone/cu126")
    (tmp_path / "models").mkdir()
    stack = StackFolder(path=folder, name="cu126", environment={"IMAGES": "upstream"})
    with pytest.raises(PreflightError, match="alone/upstream: is not there") as refused:
        preflight.require_files(stack.read())
    assert "copy compose/upstream there" in refused.value.hint
    assert "UPSTREAM_PROGRAMS" in refused.value.hint


# --- what of the host is mounted ----------------------------------------------------------------------------


def host_paths(folder: Path) -> set[str]:
    """Every file, folder and device of the host in what Compose makes of a stack."""
    printed = succeeded(run("docker", "compose", "config", "--format", "json", cwd=folder, limit=UNHURRIED))
    sources = set()
    for service in json.loads(printed)["services"].values():
        sources |= {volume["source"] for volume in service.get("volumes", ()) if volume["type"] == "bind"}
        sources |= {device["source"] for device in service.get("devices", ())}
    return sources


@needs_compose
@pytest.mark.parametrize("name", COMMITTED)
def test_the_preflight_knows_every_path_of_the_host(name: str, workspace: Path) -> None:
    folder = workspace / "compose" / name
    configuration = configuration_of(folder)
    known = {str(bind.source) for service in configuration.services for bind in service.binds}
    known |= {str(device.node) for service in configuration.services for device in service.devices}
    assert known == host_paths(folder)
    absent = [path for path in sorted(known) if not Path(path).exists()]
    if absent:
        with pytest.raises(PreflightError) as refusal:
            preflight.require_files(configuration)
            preflight.require_devices(configuration)
        assert any(path in refusal.value.message for path in absent)
