"""The bake command, and what is said of a build while it runs and when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.building.bake import BakeCommand, bake_command, run
from paddock.building.settings import BuildSettings
from paddock.errors import EngineError, ProgramError
from recording import Recorder

SETTINGS = BuildSettings(models_dir=Path("/srv/models"))


def printing(text: str, *, status: int = 0) -> BakeCommand:
    """A build that prints `text` and ends."""
    return BakeCommand(argv=("sh", "-c", f"cat <<'END'\n{text}\nEND\nexit {status}"), environment={})


def test_the_command_line_and_the_environment() -> None:
    settings = BuildSettings(
        models_dir=Path("/srv/models"),
        base_registry="harbor.example/proxy/",
        wheelhouse=Path("/srv/wheels"),
        ca_bundle=Path("/etc/ca.pem"),
        pip_index_url="https://user:secret@mirror.example/simple",
    )
    command = bake_command(
        "cpu-llama-cpp",
        settings,
        revision="abc",
        epoch=1700000000,
        stand_ins={"debian:bookworm-slim": "mine:1"},
        no_cache=True,
    )
    assert command.argv == (
        "docker",
        "buildx",
        "bake",
        "--progress=plain",
        "--file=images/docker-bake.hcl",
        "--set=*.contexts.debian:bookworm-slim=docker-image://mine:1",
        "--no-cache",
        "cpu-llama-cpp",
    )
    assert command.environment["CREATED"] == "2023-11-14T22:13:20Z"
    assert command.environment["SOURCE_DATE_EPOCH"] == "1700000000"
    assert command.environment["REVISION"] == "abc"
    assert command.environment["BASE_REGISTRY"] == "harbor.example/proxy/"
    assert command.environment["WHEELHOUSE"] == "/srv/wheels"
    assert "secret" not in " ".join(command.argv)


@pytest.mark.parametrize(("asked_for", "value"), [(False, ""), (True, "1")])
def test_stand_in_packages_and_the_preprocessor_are_off_unless_asked_for(asked_for: bool, value: str) -> None:
    command = bake_command(
        "cu126-offline",
        SETTINGS,
        revision="abc",
        epoch=0,
        stand_in_packages=asked_for,
        preprocessor=asked_for,
    )
    assert command.argv[-1] == "cu126-offline"
    assert (command.environment["STAND_IN"], command.environment["DOC_PREPROCESSOR"]) == (value, value)


def test_steps_are_said_once_and_without_their_mounts(tmp_path: Path, report: Recorder) -> None:
    output = "\n".join(
        (
            "#7 [cpu-api os 1/2] RUN --mount=type=cache,target=/var/cache/apt  sh /run/install-os.sh python3",
            "#7 0.5 Get:1 something",
            "#7 [cpu-api os 1/2] RUN --mount=type=cache,target=/var/cache/apt  sh /run/install-os.sh python3",
            "#7 DONE 12.3s",
            "#8 DONE 3.0s",
        )
    )
    run(printing(output), SETTINGS, tmp_path, log="build.log", report=report)
    assert report.said[1:] == [
        "cpu-api: RUN sh /run/install-os.sh python3",
        "cpu-api: RUN sh /run/install-os.sh python3 (12.3 s)",
    ]
    assert (tmp_path / ".paddock/build.log").read_text() == f"{output}\n"


def test_where_a_build_takes_things_from_is_said_without_secrets(tmp_path: Path, report: Recorder) -> None:
    settings = BuildSettings(
        models_dir=tmp_path,
        wheelhouse=Path("/srv/wheels"),
        base_registry="harbor.example/proxy/",
        pip_index_url="https://user:secret@mirror.example/simple",
    )
    run(printing(""), settings, tmp_path, log="build.log", report=report)
    assert report.said[:3] == [
        "wheels from /srv/wheels",
        "base images from harbor.example/proxy/",
        "Python packages from the index in PIP_INDEX_URL",
    ]
    assert "secret" not in "".join(report.said)


def test_a_failure_shows_the_failing_step_only(tmp_path: Path, report: Recorder) -> None:
    noise = "\n".join(f"#5 {number} Unpacking something" for number in range(500))
    end = "------\n > [cpu-api os 2/2] RUN false:\n0.1 about to fail\n------\nERROR: exit code: 1"
    with pytest.raises(ProgramError) as failed:
        run(printing(f"{noise}\n{end}", status=1), SETTINGS, tmp_path, log="build.log", report=report)
    assert failed.value.message.splitlines() == [
        "the build failed",
        "  |  > [cpu-api os 2/2] RUN false:",
        "  | 0.1 about to fail",
        "  | ERROR: exit code: 1",
    ]
    assert str(tmp_path / ".paddock/build.log") in failed.value.hint


def test_a_full_disk_is_named(tmp_path: Path, report: Recorder) -> None:
    end = "------\n > RUN cp:\ncp: error writing 'x': No space left on device\n------"
    with pytest.raises(EngineError, match="disk space") as failed:
        run(printing(end, status=1), SETTINGS, tmp_path, log="build.log", report=report)
    assert "docker builder prune" in failed.value.hint
