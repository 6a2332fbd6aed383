"""What the generated build contexts hold."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

from paddock import paths
from paddock.errors import ConfigurationError
from paddock.matrix import pins
from paddock.matrix.load import load_api_images, load_registry, load_shared_images
from paddock.matrix.records import ContextFiles, Stack, Variant
from paddock.render.renderer import WRAPPER, Files, Renderer

TEMPLATES = paths.templates()
RENDERER = Renderer(TEMPLATES)
REGISTRY = load_registry(TEMPLATES)
SHARED = load_shared_images(TEMPLATES)
STACKS = [stack for stack in REGISTRY.stacks() if stack.variant is Variant.ONLINE]


def contexts(files: Files) -> dict[PurePosixPath, set[str]]:
    """The names in each build context, without the Dockerfile and the locks that go with it."""
    names: dict[PurePosixPath, set[str]] = {path.parent: set() for path in files if path.name == "Dockerfile"}
    for path in files.keys() - {WRAPPER}:
        if path.name != "Dockerfile" and not path.name.startswith("requirements."):
            names[path.parent].add(path.name)
    return names


def named_in(dockerfile: str, folders: Iterable[str]) -> set[str]:
    """The files of these folders of templates/image that a Dockerfile names."""
    names = {path.name for folder in folders for path in (TEMPLATES / "image" / folder).iterdir()}
    return {name for name in names if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", dockerfile)}


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_a_build_context_holds_what_its_dockerfile_names(stack: Stack) -> None:
    files = RENDERER.contexts(stack)
    templates = {part.program: part.template for part in stack.parts}
    found = contexts(files)
    assert {folder.name for folder in found} == templates.keys()
    for folder, names in found.items():
        assert names == named_in(files[folder / "Dockerfile"], [templates[folder.name], "shared"]), folder


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_build_context_holds_what_its_dockerfile_names(name: str) -> None:
    files = RENDERER.shared(name, SHARED[name])
    ((folder, names),) = contexts(files).items()
    assert names == named_in(files[folder / "Dockerfile"], [name, "api", "shared"]) != set()


def test_every_file_below_the_templates_of_images_is_in_some_build_context() -> None:
    lists = [backend.files for backend in REGISTRY.backends.values()]
    lists += [load_api_images(TEMPLATES).files, *(image.files for image in SHARED.values())]
    listed = {name for files in lists for name in all_names(files)}
    images = TEMPLATES / "image"
    present = {
        path.relative_to(images).as_posix()
        for path in images.glob("*/*")
        if path.is_file() and path.suffix != ".j2"
    }
    assert listed == present


def all_names(files: ContextFiles) -> set[str]:
    conditional = [*files.with_package.values(), *files.on_device.values()]
    return {*files.always, *(name for names in conditional for name in names)}


def test_every_condition_of_a_list_is_met_by_some_image() -> None:
    parts = [(stack, part) for stack in STACKS for part in stack.parts]
    for backend in REGISTRY.backends.values():
        images = [part.image for _, part in parts if part.program == backend.name]
        for package in backend.files.with_package:
            assert any(package in {*image.pins, *image.base.provides} for image in images), package
        assert not backend.files.on_device, "only the pipeline API has a device"
    api = load_api_images(TEMPLATES).files
    images = [part.image for _, part in parts if part.program == "api"]
    for package in api.with_package:
        assert any(package in {*image.pins, *image.base.provides} for image in images), package
    devices = {stack.api.device for stack in STACKS if stack.api is not None}
    assert api.on_device.keys() <= devices


def test_a_listed_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "image/shared/key.sh").unlink()
    stack = load_registry(tmp_path).stack(target="cpu")
    with pytest.raises(ConfigurationError, match=r"templates/image/shared/key\.sh: found no such file"):
        Renderer(tmp_path).contexts(stack)


def test_both_variants_share_their_build_contexts() -> None:
    online, offline = (REGISTRY.stack(target="cpu", variant=variant) for variant in Variant)
    assert RENDERER.contexts(online) == RENDERER.contexts(offline)


@pytest.mark.parametrize("both", [True, False], ids=["all platforms", "one platform"])
def test_a_base_image_stands_in_the_dockerfile_by_the_digest_that_a_registry_told(
    tmp_path: Path, both: bool
) -> None:
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES, templates)
    digest = "sha256:" + "a1" * 32
    lock = templates / pins.FILE
    head, name, rest = lock.read_text("utf-8").partition('"debian:bookworm-slim":\n')
    pinned = re.sub(r'unpinned: "[^"]+"', f'digest: "{digest}"', rest, count=2 if both else 1)
    lock.write_text(head + name + pinned, "utf-8")
    files = Renderer(templates).contexts(REGISTRY.stack(target="cpu"))
    lines = files[PurePosixPath("images/cpu/api/Dockerfile")].splitlines()
    starts = [line for line in lines if line.startswith("FROM ${BASE_REGISTRY}")]
    if both:
        assert starts == [f"FROM ${{BASE_REGISTRY}}debian:bookworm-slim@{digest} AS os"]
    else:
        assert starts == [
            f"FROM ${{BASE_REGISTRY}}debian:bookworm-slim@{digest} AS base-amd64",
            "FROM ${BASE_REGISTRY}debian:bookworm-slim AS base-arm64",
        ]


def test_the_vulnerabilities_are_those_of_the_list() -> None:
    known = json.loads(RENDERER.vex(REGISTRY))
    assert known["statements"]
    assert "templates/advisories.yaml" in known["tooling"]
