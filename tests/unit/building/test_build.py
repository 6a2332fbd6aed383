"""Planning a build: one bake command and its environment, from a stack and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock import paths
from paddock.building.bake import _explained, _Steps, bake_plan
from paddock.building.build import _require_weights, _warn_of_stand_ins, _with_preprocessor
from paddock.building.settings import BuildSettings
from paddock.errors import EngineError, ProgramError, WeightsError
from paddock.matrix.images import stack_images
from paddock.matrix.load import load_registry
from paddock.matrix.records import Stack, Variant


def test_plan_is_the_whole_command() -> None:
    settings = BuildSettings(
        models_dir=Path("/srv/models"),
        base_registry="harbor.example/proxy/",
        wheelhouse=Path("/srv/wheels"),
        ca_bundle=Path("/etc/ca.pem"),
        pip_index_url="https://user:secret@mirror.example/simple",
    )
    planned = bake_plan(
        "cpu-llama-cpp",
        settings,
        revision="abc",
        epoch=1700000000,
        stand_ins={"debian:bookworm-slim": "mine:1"},
        no_cache=True,
    )
    assert planned.argv == (
        "docker",
        "buildx",
        "bake",
        "--progress=plain",
        "--file=images/docker-bake.hcl",
        "--set=*.contexts.debian:bookworm-slim=docker-image://mine:1",
        "--no-cache",
        "cpu-llama-cpp",
    )
    assert planned.environment["CREATED"] == "2023-11-14T22:13:20Z"
    assert planned.environment["SOURCE_DATE_EPOCH"] == "1700000000"
    assert planned.environment["REVISION"] == "abc"
    assert planned.environment["BASE_REGISTRY"] == "harbor.example/proxy/"
    assert planned.environment["WHEELHOUSE"] == "/srv/wheels"
    assert "secret" not in " ".join(planned.argv)


def test_images_of_a_stack_name_target_program_version_and_model() -> None:
    offline = load_registry(paths.templates()).stack(target="cpu", variant=Variant.OFFLINE)
    assert [image.reference(prefix="p/", version="1") for image in stack_images(offline)] == [
        "p/cpu-api:1-paddleocr-vl-1.6-offline",
        "p/cpu-vllm:1-paddleocr-vl-1.6-offline",
    ]


class Recorder:
    """A reporter that keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, message: str, /) -> None:
        self.said.append(message)

    def warn(self, message: str, /) -> None:
        self.warned.append(message)


def offline(target: str, backend: str | None = None) -> Stack:
    return load_registry(paths.templates()).stack(target=target, backend=backend, variant=Variant.OFFLINE)


def test_an_offline_api_holds_the_preprocessors_weights_when_both_are_there(tmp_path: Path) -> None:
    api, vlm = images = stack_images(offline("cpu"))
    assert [weights.name for weights in api.weights] == ["PP-DocLayoutV3"]
    assert [weights.name for weights in api.further_weights] == ["PP-LCNet_x1_0_doc_ori", "UVDoc"]
    assert vlm.further_weights == ()
    recorder = Recorder()
    (tmp_path / "UVDoc").mkdir()
    assert not _with_preprocessor(images, tmp_path, recorder)  # type: ignore[arg-type]
    (warning,) = recorder.warned
    assert "found no PP-LCNet_x1_0_doc_ori:" in warning
    (tmp_path / "PP-LCNet_x1_0_doc_ori").mkdir()
    assert _with_preprocessor(images, tmp_path, recorder)  # type: ignore[arg-type]
    assert len(recorder.warned) == 1


def test_every_weight_set_of_an_offline_image_is_wanted(tmp_path: Path) -> None:
    stack = offline("cpu")
    (tmp_path / "PP-DocLayoutV3").mkdir()
    with pytest.raises(WeightsError, match=r"found no PaddleOCR-VL-1\.6, expected") as raised:
        _require_weights(stack, tmp_path)
    assert "`paddock models fetch paddleocr-vl-1.6` brings them" in (raised.value.hint or "")
    (tmp_path / "PaddleOCR-VL-1.6").mkdir()
    _require_weights(stack, tmp_path)
    with pytest.raises(WeightsError) as raised:
        _require_weights(offline("cpu", backend="llama.cpp"), tmp_path)
    assert "fetch paddleocr-vl-1.6 --backend llama.cpp`" in (raised.value.hint or "")


def test_stand_ins_for_packages_are_said_aloud_and_off_unless_asked_for() -> None:
    stack = offline("cu126")
    settings = BuildSettings(models_dir=Path("/srv/models"))
    planned = [
        bake_plan(stack, settings, revision="abc", epoch=0, stand_in_packages=wanted, preprocessor=wanted)
        for wanted in (False, True)
    ]
    assert [each.environment["STAND_IN"] for each in planned] == ["", "1"]
    assert [each.environment["DOC_PREPROCESSOR"] for each in planned] == ["", "1"]
    recorder = Recorder()
    _warn_of_stand_ins(stack_images(stack), recorder)  # type: ignore[arg-type]
    assert recorder.warned == [
        "cu126-api: built with paddlepaddle==3.2.1 in place of the vendor's package, for a trial only"
    ]


def test_steps_are_said_once_and_without_their_mounts() -> None:
    recorder = Recorder()
    steps = _Steps(recorder)  # type: ignore[arg-type]
    for line in (
        "#7 [cpu-api os 1/2] RUN --mount=type=cache,target=/var/cache/apt  sh /run/install-os.sh python3",
        "#7 0.5 Get:1 something",
        "#7 [cpu-api os 1/2] RUN --mount=type=cache,target=/var/cache/apt  sh /run/install-os.sh python3",
        "#7 DONE 12.3s",
        "#8 DONE 3.0s",
    ):
        steps.see(line)
    assert recorder.said == [
        "cpu-api: RUN sh /run/install-os.sh python3",
        "cpu-api: RUN sh /run/install-os.sh python3 (12.3 s)",
    ]


def test_a_failure_shows_the_failing_step_only(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    noise = "\n".join(f"#5 {number} Unpacking something" for number in range(500))
    log.write_text(
        f"{noise}\n------\n > [cpu-api os 2/2] RUN false:\n0.1 about to fail\n------\nERROR: exit code: 1\n"
    )
    failure = _explained(log)
    assert isinstance(failure, ProgramError)
    assert failure.message.splitlines() == [
        "the build failed",
        "  |  > [cpu-api os 2/2] RUN false:",
        "  | 0.1 about to fail",
        "  | ERROR: exit code: 1",
    ]
    assert str(log) in failure.hint


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("------\n > RUN cp:\ncp: error writing 'x': No space left on device\n------\n")
    failure = _explained(log)
    assert isinstance(failure, EngineError)
    assert "disk space" in failure.message
    assert "docker builder prune" in failure.hint
