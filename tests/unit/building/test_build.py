"""Building, from the check of the engine to the bake command; `docker` only notes its arguments here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fake_engine import FakeEngine
from paddock import paths
from paddock.building.build import build_images, build_tool
from paddock.building.settings import BuildSettings
from paddock.errors import EngineError, WeightsError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant
from recording import Recorder

DATA = load_registry(paths.templates())


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(workspace: Path) -> BuildSettings:
    return BuildSettings(models_dir=workspace / "models", image_prefix="here/")


@pytest.fixture
def asked(tmp_path: Path, fake_engine: FakeEngine, program: Callable[[str, str], None]) -> Path:
    """What `docker` was called with, each call behind the STAND_IN of its environment; it succeeds."""
    path = tmp_path / "asked"
    program("docker", f'echo "$STAND_IN:" "$@" >> {path}')
    return path


def test_a_stack_is_rendered_its_bases_pulled_and_both_images_built(
    workspace: Path, settings: BuildSettings, asked: Path, report: Recorder
) -> None:
    stack = DATA.stack(target="cpu")
    images = build_images(stack, settings, data=DATA, workspace=workspace, report=report)
    assert [image.partition(":")[0] for image in images] == ["here/cpu-api", "here/cpu-vllm"]
    assert (workspace / "images/docker-bake.hcl").is_file()
    assert (workspace / "compose/cpu/compose.yaml").is_file()
    calls = asked.read_text().splitlines()
    assert calls[0] == ": buildx version"
    assert {call.split()[1] for call in calls[1:-1]} == {"pull"}
    assert calls[-1].startswith(": buildx bake ")
    assert calls[-1].endswith(" cpu")
    assert report.warned == []


def test_files_that_somebody_changed_are_built_as_they_are(
    workspace: Path, settings: BuildSettings, asked: Path, report: Recorder
) -> None:
    stack = DATA.stack(target="cpu")
    build_images(stack, settings, data=DATA, workspace=workspace, report=report)
    dockerfile = workspace / "images/cpu/api/Dockerfile"
    changed = dockerfile.read_text() + "# mine\n"
    dockerfile.write_text(changed)
    build_images(stack, settings, data=DATA, workspace=workspace, report=report)
    assert report.warned == [
        "building from files that differ from a fresh render (images/cpu/api/Dockerfile); "
        "`paddock render` writes them"
    ]
    assert dockerfile.read_text() == changed


def test_no_architecture_is_emulated(
    workspace: Path, settings: BuildSettings, asked: Path, report: Recorder, fake_engine: FakeEngine
) -> None:
    fake_engine.architecture = "s390x"
    with pytest.raises(EngineError, match="target cpu: found an engine for linux/s390x, expected one for"):
        build_images(DATA.stack(target="cpu"), settings, data=DATA, workspace=workspace, report=report)
    assert not asked.exists()


def test_an_offline_stack_without_weights_is_refused_before_anything_is_pulled(
    workspace: Path, settings: BuildSettings, asked: Path, report: Recorder
) -> None:
    stack = DATA.stack(target="cpu", variant=Variant.OFFLINE)
    with pytest.raises(WeightsError, match="expected the weights that the offline image holds"):
        build_images(stack, settings, data=DATA, workspace=workspace, report=report)
    assert asked.read_text() == ": buildx version\n"


@pytest.mark.parametrize("stand_in", [False, True])
def test_stand_ins_for_packages_are_said_aloud_and_off_unless_asked_for(
    workspace: Path, settings: BuildSettings, asked: Path, report: Recorder, stand_in: bool
) -> None:
    stack = DATA.stack(target="cu126")
    build_images(stack, settings, data=DATA, workspace=workspace, report=report, stand_in_packages=stand_in)
    warning = "cu126-api: built with paddlepaddle==3.2.1 in place of the vendor's package, for a trial only"
    unhashed = "cu126-api: paddlepaddle-gpu 3.2.1 is taken without a hash: no hash is known"
    (warned,) = report.warned
    assert warned.startswith(warning if stand_in else unhashed)
    assert asked.read_text().splitlines()[-1].startswith("1: " if stand_in else ": ")


def test_the_tools_image_is_built_of_the_checkout(
    workspace: Path, settings: BuildSettings, asked: Path, report: Recorder
) -> None:
    (reference,) = build_tool(settings, data=DATA, workspace=workspace, report=report)
    assert reference.startswith("here/tool:")
    assert asked.read_text().splitlines()[-1].endswith(" tool")
    assert (workspace / "images/tool/Dockerfile").is_file()
